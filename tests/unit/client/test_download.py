"""Downloads across connections that break off."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_server import answer, scripted_server

from cloud_executor.client import CloudExecutor, download
from cloud_executor.client.errors import ServerFault, TransferBroken
from cloud_executor.errors import NotFound

HASH = "a" * 40
BYTES = bytes(range(256)) * 1000
ETAG = 'ETag: "one"'


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "RESUME_SECONDS", (0.0, 0.0))


def cut(at: int, *headers: str) -> bytes:
    return answer("200 OK", BYTES[:at], *headers, length=len(BYTES))


def rest(start: int, *headers: str, until: int | None = None) -> bytes:
    place = f"Content-Range: bytes {start}-{len(BYTES) - 1}/{len(BYTES)}"
    return answer("206 Partial Content", BYTES[start:until], place, *headers, length=len(BYTES) - start)


def test_a_broken_download_is_resumed_where_it_broke(tmp_path: Path) -> None:
    answers = [cut(100_000, ETAG), rest(100_000, ETAG, until=200_000), rest(200_000, ETAG)]
    with scripted_server(answers) as server, CloudExecutor(server.url) as client:
        client.download(HASH, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BYTES
    first, second, third = server.requests
    assert "range:" not in first.lower()
    assert "\r\nrange: bytes=100000-\r\n" in second.lower()
    assert '\r\nif-range: "one"\r\n' in second.lower()
    assert "\r\nrange: bytes=200000-\r\n" in third.lower()


def test_a_server_that_begins_anew_gives_every_byte_once() -> None:
    answers = [cut(100_000), cut(150_000), answer("200 OK", BYTES)]
    with scripted_server(answers) as server, CloudExecutor(server.url) as client:
        assert b"".join(client.chunks(HASH, "x")) == BYTES


def test_what_changed_meanwhile_is_not_mixed(tmp_path: Path) -> None:
    with (
        scripted_server([cut(10, ETAG), answer("200 OK", BYTES, 'ETag: "two"')]) as server,
        CloudExecutor(server.url) as client,
        pytest.raises(ServerFault, match="has changed"),
    ):
        client.download(HASH, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_other_bytes_than_asked_for_are_refused() -> None:
    with (
        scripted_server([cut(10), rest(20)]) as server,
        CloudExecutor(server.url) as client,
        pytest.raises(ServerFault, match="other bytes"),
    ):
        b"".join(client.chunks(HASH))


def test_breaks_without_progress_come_to_an_end_and_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("as before")
    with (
        scripted_server([cut(10), cut(10), cut(5), cut(0)]) as server,
        CloudExecutor(server.url) as client,
        pytest.raises(TransferBroken),
    ):
        client.download_file(HASH, "x", tmp_path / "file")
    assert len(server.requests) == 3
    assert (tmp_path / "file").read_text() == "as before"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_not_there_is_not_found_and_leaves_nothing(tmp_path: Path) -> None:
    sentence = answer("404 Not Found", b"No blob has this hash.", "Content-Type: text/plain")
    with (
        scripted_server([sentence]) as server,
        CloudExecutor(server.url) as client,
        pytest.raises(NotFound, match=r"No blob has this hash\."),
    ):
        client.download(HASH, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_the_tail_is_the_end_whatever_the_server_can() -> None:
    partial = answer("206 Partial Content", BYTES[-50:], f"Content-Range: bytes 255950-255999/{len(BYTES)}")
    answers = [partial, answer("200 OK", BYTES), answer("416 Range Not Satisfiable"), answer("200 OK", b"short")]
    with scripted_server(answers) as server, CloudExecutor(server.url) as client:
        assert client.tail(HASH, "x", 50) == BYTES[-50:]
        assert client.tail(HASH, "x", 50) == BYTES[-50:]
        assert client.tail(HASH, "x", 50) == b""
        assert client.tail(HASH, "x", 50) == b"short"
    assert "\r\nrange: bytes=-50\r\n" in server.requests[0].lower()


def test_the_path_of_a_file_is_one_segment() -> None:
    with scripted_server([answer("200 OK")]) as server, CloudExecutor(server.url) as client:
        assert b"".join(client.chunks(HASH, "dir/ü &?#%41.txt")) == b""
    assert server.requests[0].startswith(f"GET /rest/blob/download/{HASH}/dir%2F%C3%BC%20%26%3F%23%2541.txt HTTP/1.1")
