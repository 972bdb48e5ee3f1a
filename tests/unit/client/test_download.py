"""Test downloads over connections that break."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from servers.scripted_server import response, scripted_server

from cloud_executor.client import Client, Progress
from cloud_executor.client.errors import ServerError, TransferFailed
from cloud_executor.client.transfer import download
from cloud_executor.errors import NotFound

HASH = "a" * 40
BYTES = bytes(range(256)) * 1000
ETAG = 'ETag: "one"'


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "RESUME_SECONDS", (0.0, 0.0))


def cut(at: int, *headers: str) -> bytes:
    return response("200 OK", BYTES[:at], *headers, length=len(BYTES))


def rest(start: int, *headers: str, until: int | None = None) -> bytes:
    content_range = f"Content-Range: bytes {start}-{len(BYTES) - 1}/{len(BYTES)}"
    return response("206 Partial Content", BYTES[start:until], content_range, *headers, length=len(BYTES) - start)


def test_a_broken_download_is_resumed_where_it_broke(tmp_path: Path) -> None:
    responses = [cut(100_000, ETAG), rest(100_000, ETAG, until=200_000), rest(200_000, ETAG)]
    with scripted_server(responses) as server, Client(server.url) as client:
        client.download(HASH, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BYTES
    first, second, third = server.requests
    assert "range:" not in first.lower()
    assert "\r\nrange: bytes=100000-\r\n" in second.lower()
    assert '\r\nif-range: "one"\r\n' in second.lower()
    assert "\r\nrange: bytes=200000-\r\n" in third.lower()


def test_each_byte_is_returned_once_if_the_server_cannot_resume() -> None:
    responses = [cut(100_000), cut(150_000), response("200 OK", BYTES)]
    with scripted_server(responses) as server, Client(server.url) as client:
        assert b"".join(client.chunks(HASH, "x")) == BYTES


def test_a_file_that_changes_during_the_download_is_an_error(tmp_path: Path) -> None:
    with (
        scripted_server([cut(10, ETAG), response("200 OK", BYTES, 'ETag: "two"')]) as server,
        Client(server.url) as client,
        pytest.raises(ServerError, match="changed during the download"),
    ):
        client.download(HASH, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_were_not_requested_are_rejected() -> None:
    with (
        scripted_server([cut(10), rest(20)]) as server,
        Client(server.url) as client,
        pytest.raises(ServerError, match="did not send the requested bytes"),
    ):
        b"".join(client.chunks(HASH))


def test_a_download_without_progress_fails_and_leaves_no_partial_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("as before")
    with (
        scripted_server([cut(10), cut(10), cut(5), cut(0)]) as server,
        Client(server.url) as client,
        pytest.raises(TransferFailed),
    ):
        client.download_file(HASH, "x", tmp_path / "file")
    assert len(server.requests) == 3
    assert (tmp_path / "file").read_text() == "as before"
    assert len(list(tmp_path.iterdir())) == 1


def test_an_unknown_blob_raises_not_found_and_leaves_no_file(tmp_path: Path) -> None:
    not_found = response("404 Not Found", b"No blob has this hash.", "Content-Type: text/plain")
    with (
        scripted_server([not_found]) as server,
        Client(server.url) as client,
        pytest.raises(NotFound, match=r"No blob has this hash\."),
    ):
        client.download(HASH, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_the_tail_is_the_same_with_and_without_range_support() -> None:
    partial = response("206 Partial Content", BYTES[-50:], f"Content-Range: bytes 255950-255999/{len(BYTES)}")
    responses = [
        partial,
        response("200 OK", BYTES),
        response("416 Range Not Satisfiable"),
        response("200 OK", b"short"),
    ]
    with scripted_server(responses) as server, Client(server.url) as client:
        assert client.tail(HASH, "x", 50) == BYTES[-50:]
        assert client.tail(HASH, "x", 50) == BYTES[-50:]
        assert client.tail(HASH, "x", 50) == b""
        assert client.tail(HASH, "x", 50) == b"short"
    assert "\r\nrange: bytes=-50\r\n" in server.requests[0].lower()


def test_the_path_of_a_file_is_encoded_as_one_segment() -> None:
    with scripted_server([response("200 OK")]) as server, Client(server.url) as client:
        assert b"".join(client.chunks(HASH, "dir/ü &?#%41.txt")) == b""
    assert server.requests[0].startswith(f"GET /rest/blob/download/{HASH}/dir%2F%C3%BC%20%26%3F%23%2541.txt HTTP/1.1")


# Verification ---------------------------------------------------------------------------------------------------------

SHA1 = hashlib.sha1(BYTES).hexdigest()


@pytest.mark.parametrize(
    ("headers", "damaged"),
    [
        (["Accept-Ranges: bytes", f'ETag: "{SHA1}"'], False),
        (["Accept-Ranges: bytes", f'ETag: "{"0" * 40}"'], True),
        ([f'ETag: "{"0" * 40}"'], False),  # the zip of an artifact
        (["Accept-Ranges: bytes", 'ETag: "other"'], False),
    ],
)
def test_bytes_whose_hash_the_server_states_are_verified(headers: list[str], damaged: bool, tmp_path: Path) -> None:
    with scripted_server([response("200 OK", BYTES, *headers)]) as server, Client(server.url) as client:
        if damaged:
            with pytest.raises(TransferFailed, match="damaged"):
                client.download("h", tmp_path / "file")
            assert list(tmp_path.iterdir()) == []
        else:
            client.download("h", tmp_path / "file")
            assert (tmp_path / "file").read_bytes() == BYTES


def test_a_resumed_download_is_verified_as_a_whole() -> None:
    headers = ["Accept-Ranges: bytes", f'ETag: "{SHA1}"']
    with scripted_server([cut(10, *headers), rest(10, *headers)]) as server, Client(server.url) as client:
        assert b"".join(client.chunks("h")) == BYTES


def test_a_download_can_start_later() -> None:
    beyond = response("416 Range Not Satisfiable", b"The range starts beyond the end of the file.")
    responses = [rest(10, f'ETag: "{SHA1}"'), beyond, response("200 OK", BYTES)]
    with scripted_server(responses) as server, Client(server.url) as client:
        assert b"".join(client.chunks("h", start=10)) == BYTES[10:]
        assert b"".join(client.chunks("h", start=len(BYTES))) == b""
        assert b"".join(client.chunks("h", start=10)) == BYTES[10:]  # from a server without ranges


def test_progress_is_reported() -> None:
    seen: list[Progress] = []
    with (
        scripted_server([response("200 OK", BYTES)]) as server,
        Client(server.url, on_progress=seen.append) as client,
    ):
        b"".join(client.chunks("hash", "file"))
    assert seen[-1] == Progress("Downloading", "file", len(BYTES), len(BYTES))
