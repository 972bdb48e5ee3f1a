"""Requests and responses at the HTTP level, for all routes."""

from __future__ import annotations

import hashlib
import http.client
import socket
import struct
import uuid
from itertools import product
from pathlib import Path

import pytest
from http_server import EMBEDDED, Server, StartServer, until
from server_processes import files_being_written

from functions.serve import KEEP_ALIVE_SECONDS

BLOB_ROUTES = ("/rest/blob/metadata", "/rest/blob/metadata/x", "/rest/blob/view/x", "/rest/blob/download/x/y")
EXECUTOR_ROUTES = ("/rest/executor", "/rest/executor/info/x", "/rest/executor/output/x", "/rest/executor/worker")


def sentence(body: str) -> bool:
    """Whether the body is one sentence without internal details."""
    return body.endswith(".") and "\n" not in body and not any(word in body for word in ("Traceback", "/tmp", ".py"))


def new_id() -> str:
    return uuid.uuid4().hex


@pytest.mark.parametrize(
    ("segment", "name"),
    [
        ("a%2Fb.txt", "a/b.txt"),
        ("a%252Fb.txt", "a%2Fb.txt"),
        ("a+b%2B.txt", "a+b+.txt"),
        ("%E6%BC%A2%F0%9F%98%80.txt", "漢😀.txt"),
        ("line%0Abreak%0D.txt", "line\nbreak\r.txt"),
        ("%00.txt", "\0.txt"),
        ("a;b=c&d:e@f.txt", "a;b=c&d:e@f.txt"),
        ("..%2F..%2Fetc%2Fpasswd", "../../etc/passwd"),
        ("%3Fquery%23hash", "?query#hash"),
        ("robots.txt", "robots.txt"),
    ],
)
def test_a_segment_is_decoded_once(server: Server, segment: str, name: str) -> None:
    blob_hash = server.create_file(segment, b"x")
    assert server.get(f"/rest/blob/metadata/{blob_hash}").json["name"] == name


@pytest.mark.parametrize("segment", ["%zz", "%", "a%4", "%E9", "%ED%A0%80", "%C0%AF"])
def test_an_invalid_escape_is_400(server: Server, segment: str) -> None:
    for method, path in [
        ("POST", "/rest/blob/createFile/"),
        ("GET", "/rest/blob/view/"),
        ("GET", f"/rest/blob/download/{'0' * 40}/"),
        ("GET", "/rest/executor/info/"),
        ("POST", "/rest/executor/create/"),
    ]:
        response = server.send(method, path + segment, b"")
        assert response.status == 400
        assert sentence(response.text)
    assert server.get(f"/rest/blob/metadata/{segment}").status == 404


@pytest.mark.parametrize(
    "path",
    [
        *(
            "//",
            "/dashboard",
            "/dashboard/",
            "/dashboard/x/..%2Froutes.py",
            "/dashboard/x/none",
            "/rest",
            "/rest/",
            "/rest/blob",
            "/rest/blob/",
            "/rest/unknown",
            "/robots.txt",
            "/favicon.ico",
        ),
        *("//rest/blob/metadata", "/rest//blob/metadata", "/rest/blob//metadata", "/rest/blobs/metadata"),
        *("/rest/blob/view", "/rest/blob/view/", "/rest/blob/view//", "/rest/blob/metadata/x/y"),
        *("/rest/executor//", "/rest/executor/info", "/rest/executor/info/", "/rest/executor/info/a/b"),
        *("/rest/executor/unknown_command", "/rest/executor/output", "/rest/executor/worker/x", "/a%0Ab"),
    ],
)
def test_an_unknown_path_is_404_with_a_sentence(server: Server, path: str) -> None:
    response = server.get(path)
    assert response.status == 404
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert sentence(response.text)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "BREW"])
@pytest.mark.parametrize("path", [*BLOB_ROUTES, *EXECUTOR_ROUTES, "/rest/blob/createFile/x", "/rest/executor/create/x"])
def test_an_unknown_method_is_404(server: Server, method: str, path: str) -> None:
    response = server.send(method, path)
    assert response.status == 404
    assert sentence(response.text)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *[("POST", path) for path in (*BLOB_ROUTES, "/rest/executor", "/rest/executor/info/x")],
        *[("GET", f"/rest/blob/{verb}") for verb in ("createFile/x", "createMetadata")],
        *[("GET", f"/rest/executor/{verb}/x") for verb in ("create", "update", "cancel")],
    ],
)
def test_another_routes_method_is_404(server: Server, method: str, path: str) -> None:
    assert server.send(method, path, b"" if method == "POST" else None).status == 404


def test_head_is_get_without_a_body(server: Server, readable: list[str]) -> None:
    for path in readable:
        get = server.get(path)
        # If there were a body, it would be parsed as the start of the next response.
        head, after = (
            b"HEAD %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode(),
            b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        )
        with server.raw(head) as connection:
            response = http.client.HTTPResponse(connection, method="HEAD")
            response.begin()
            assert response.read() == b""
            connection.sendall(after)
            following = http.client.HTTPResponse(connection)
            following.begin()
            assert following.status == 204
        assert response.status == get.status
        for name in set(get.headers) - {"Date", "Transfer-Encoding"}:
            assert response.headers[name] == get[name], (path, name)


def test_every_executor_response_has_the_media_type(server: Server, readable: list[str]) -> None:
    paths = [path for path in readable if path.startswith("/rest/executor")]
    for path in [*paths, "/rest/executor/nothing", "/rest/executor/info/%zz", "/rest/executor/?limit=x"]:
        for method in ("GET", "HEAD", "POST", "PUT"):
            assert server.send(method, path, b"")["X-WebGME-Media-Type"] == "webgme.v1", (method, path)
    malformed = server.send("POST", "/rest/executor/create/x", b"{", {"Content-Type": "application/json"})
    assert (malformed.status, malformed["X-WebGME-Media-Type"]) == (400, "webgme.v1")


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_trailing_slash_is_ignored(server: Server, slash: str) -> None:
    job = new_id()
    assert server.post(f"/rest/executor/create/{job}{slash}", {"labels": ["no-worker"]}).status == 200
    assert server.get(f"/rest/executor/info/{job}{slash}").json["hash"] == job
    assert server.get(f"/rest/executor{slash}").status == 200
    assert server.get(f"/rest/executor/worker{slash}").status == 200
    blob_hash = server.create_file(f"slash.txt{slash}", b"x")
    assert server.get(f"/rest/blob/metadata/{blob_hash}{slash}").json["name"] == "slash.txt"
    assert server.get(f"/rest/blob/view/{blob_hash}{slash}").body == b"x"


@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "application/json", "multipart/form-data; boundary=x", "text/plain", "", "?"],
)
@pytest.mark.parametrize("size", [0, 7, 3 * 1024 * 1024])
def test_an_upload_stores_its_bytes_regardless_of_their_type(server: Server, content_type: str, size: int) -> None:
    content = (b"a=1&b=%20+{" * (size // 11 + 1))[:size]
    response = server.send("POST", "/rest/blob/createFile/form.bin", content, {"Content-Type": content_type})
    assert response.json[response.blob_hash]["size"] == size
    assert response.json[response.blob_hash]["content"] == hashlib.sha1(content).hexdigest()


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
def test_metadata_is_parsed_regardless_of_its_content_type(server: Server, content_type: str) -> None:
    response = server.send(
        "POST", "/rest/blob/createMetadata", b'{"content":"%b"}' % (b"0" * 40), {"Content-Type": content_type}
    )
    assert response.json[response.blob_hash]["content"] == "0" * 40


@pytest.mark.parametrize("pieces", [[], [b"one"], [b"x", b"y" * 100_000, b"z"], [bytes(700_000)] * 4])
def test_a_chunked_upload_stores_all_its_chunks(server: Server, pieces: list[bytes]) -> None:
    blob_hash = server.send("POST", "/rest/blob/createFile/chunked.bin", pieces, chunked=True).blob_hash
    assert server.get(f"/rest/blob/view/{blob_hash}").body == b"".join(pieces)


def test_a_chunked_json_body_is_parsed(server: Server) -> None:
    job = new_id()
    response = server.send(
        *("POST", f"/rest/executor/create/{job}", [b'{"lab', b'els":["no-worker"]}']),
        {"Content-Type": "application/json; charset=utf-8"},
        chunked=True,
    )
    assert response.json["labels"] == ["no-worker"]


def test_a_client_that_expects_100_continue_gets_it(server: Server) -> None:
    request = (
        b"POST /rest/blob/createFile/e HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    )
    with server.raw(request) as connection:
        expected = b"HTTP/1.1 100 Continue\r\n\r\n"
        assert connection.recv(len(expected)) == expected
        connection.sendall(b"bytes")
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == 200


def test_a_request_target_in_absolute_form_is_reduced_to_its_path(server: Server) -> None:
    blob_hash = server.create_file("absolute.txt", b"x")
    for origin in ("http://localhost:1", "HTTP://localhost", "https://127.0.0.1"):
        assert server.get(f"{origin}/rest/blob/view/{blob_hash}").body == b"x"
        assert server.get(f"{origin}/rest/executor/info/a%2F{blob_hash}").status == 404
    assert server.get("http://localhost").body == server.get("/").body


def test_an_idle_connection_is_kept_alive(server: Server) -> None:
    connection = server.connect()
    try:
        for _ in range(3):
            connection.request("GET", "/rest/executor/worker")
            response = connection.getresponse()
            response.read()
            assert response.headers["Connection"] == "keep-alive"
    finally:
        connection.close()


def test_idle_connections_are_kept_longer_than_clients_keep_them() -> None:
    assert KEEP_ALIVE_SECONDS > 20


@pytest.mark.parametrize("size", [100_000, 20_000_000])
def test_a_rejected_upload_gets_its_response_and_the_connection_stays_usable(server: Server, size: int) -> None:
    connection = server.connect()
    try:
        for status, path in [
            (404, "/rest/blob/createFile/a/b"),
            (400, "/rest/blob/createFile/%zz"),
            (200, "/rest/blob/createFile/c"),
        ]:
            connection.request("POST", path, bytes(size))
            response = connection.getresponse()
            response.read()
            assert response.status == status
    finally:
        connection.close()


@EMBEDDED
def test_an_interrupted_upload_leaves_nothing(start_server: StartServer) -> None:
    server = start_server()
    for chunked, sent in product((False, True), (0, 5, 2 * 1024 * 1024)):
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 4194304"
        pieces = [b"POST /rest/blob/createFile/broken.bin HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n" % framing]
        if chunked:
            pieces.append(b"400000\r\n")
        pieces.append(bytes(sent))
        with server.raw(*pieces) as connection:
            connection.shutdown(socket.SHUT_WR)
            response = http.client.HTTPResponse(connection)
            response.begin()
            assert response.status == 400, (chunked, sent)
            assert sentence(response.read().decode())
        assert not server.stored_files(), (chunked, sent)


@EMBEDDED
def test_an_upload_whose_client_vanishes_leaves_nothing(start_server: StartServer) -> None:
    server = start_server()
    head = b"POST /rest/blob/createFile/broken.bin HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4194304\r\n\r\n"
    with server.raw(head, bytes(2 * 1024 * 1024)) as connection:
        until(lambda: files_being_written(server.process_id, server.blobs))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: not files_being_written(server.process_id, server.blobs))
    assert not server.stored_files()


@EMBEDDED
def test_a_stalled_client_is_disconnected(start_server: StartServer) -> None:
    server = start_server("serve.STALL_SECONDS = 0.5")
    head = b"POST /rest/blob/createFile/slow.bin HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4194304\r\n\r\n"
    response = server.raw_response(head, bytes(2 * 1024 * 1024))
    assert response.status == 400
    assert not server.stored_files()
    blob_hash = server.create_file("large.bin", bytes(64 * 1024 * 1024))
    with server.raw(b"GET /rest/blob/view/%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % blob_hash.encode()) as connection:
        until(lambda: not _connections_in_use(server))
        received = 0
        while chunk := connection.recv(1024 * 1024):
            received += len(chunk)
        assert received < 64 * 1024 * 1024


def _connections_in_use(server: Server) -> int:
    """Number of connections to the server."""
    port = f":{server.port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(fields[1].endswith(port) and fields[3] == "01" for fields in map(str.split, lines))


@EMBEDDED
def test_a_chunked_upload_cut_between_its_chunks_leaves_nothing(start_server: StartServer) -> None:
    server = start_server()
    head = (
        b"POST /rest/blob/createFile/cut.bin HTTP/1.1\r\nHost: localhost\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n"
    )
    for rest in (b"", b"0\r\n", b"5\r\nwho", b"zz\r\n", b"5\r\nwholeX"):
        with server.raw(head, rest) as connection:
            connection.shutdown(socket.SHUT_WR)
            response = http.client.HTTPResponse(connection)
            response.begin()
            assert response.status == 400, rest
        assert not server.stored_files()
    assert server.raw_response(head, b"0\r\n\r\n").status == 200


def test_bytes_beyond_the_content_length_are_not_part_of_an_upload(server: Server) -> None:
    request = (
        b"POST /rest/blob/createFile/longer HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Length: 5\r\nConnection: close\r\n\r\n"
    )
    blob_hash = server.raw_response(request, b"01234 and more").blob_hash
    assert server.get(f"/rest/blob/view/{blob_hash}").body == b"01234"


@pytest.mark.parametrize(
    "body", [b"{", b"", b"not JSON", b"\xff", b"\xef\xbb\xbf{}", b'"string"', b"1", b"null", b"{}x", b"[" * 100_000]
)
def test_malformed_json_is_400_with_a_sentence(server: Server, body: bytes) -> None:
    requests = ["/rest/blob/createMetadata"]
    if body:  # the executor accepts an empty body
        requests += [f"/rest/executor/{verb}" for verb in ("create/x", "update/x", "cancel/x", "output/x", "worker")]
    for path in requests:
        response = server.send("POST", path, body, {"Content-Type": "application/json"})
        assert response.status == 400, path
        assert sentence(response.text)


def test_a_document_that_is_too_large_is_413(server: Server) -> None:
    too_much = [b" " * (1024 * 1024)] * 33
    for path in ("/rest/blob/createMetadata", "/rest/executor/create/x"):
        announced = server.raw_response(
            b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n"
            % path.encode()
        )
        assert announced.status == 413
        assert sentence(announced.text)
        sent = server.send("POST", path, b"".join(too_much), {"Content-Type": "application/json"})
        assert sent.status == 413


@EMBEDDED
def test_a_large_output_segment_is_accepted(server: Server) -> None:
    job = new_id()
    server.post(f"/rest/executor/create/{job}", {"labels": ["no-worker"]})
    output = "x" * (16 * 1024 * 1024)
    assert server.post(f"/rest/executor/output/{job}", {"outputNumber": 0, "output": output}).text == "OK"
    assert server.get(f"/rest/executor/output/{job}").json[0]["output"] == output


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "text/json", ""])
def test_the_executor_ignores_a_body_that_is_not_json(server: Server, content_type: str) -> None:
    body = b'{"status":"SUCCESS"}'
    job = new_id()
    server.post(f"/rest/executor/create/{job}", {"labels": [job]})
    response = server.send("POST", f"/rest/executor/update/{job}", body, {"Content-Type": content_type})
    assert response.text == "OK"
    assert server.get(f"/rest/executor/info/{job}").json["status"] == "CREATED"


def test_unknown_query_parameters_are_ignored(server: Server) -> None:
    blob_hash = server.create_file("query.txt?name=other&x", b"x")
    assert server.get(f"/rest/blob/metadata/{blob_hash}?a=1&b&&=").json["name"] == "query.txt"
    assert server.get(f"/rest/blob/view/{blob_hash}?%zz=%E9").body == b"x"
