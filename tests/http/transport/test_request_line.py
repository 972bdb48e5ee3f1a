"""The length of a request line is limited."""

from __future__ import annotations

import time

from http_server import EMBEDDED, Server

from functions.fair_worker import LONGEST_REQUEST_LINE

START, END = b"GET /rest/blob/metadata/x?", b" HTTP/1.1"


def request(line_bytes: int) -> bytes:
    filler = b"a" * (line_bytes - len(START) - len(END))
    return START + filler + END + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@EMBEDDED
def test_the_longest_request_line_is_served(server: Server) -> None:
    assert server.raw_response(request(LONGEST_REQUEST_LINE)).status == 404


@EMBEDDED
def test_a_longer_request_line_is_rejected(server: Server) -> None:
    assert server.raw_response(request(LONGEST_REQUEST_LINE + 1)).status == 414


@EMBEDDED
def test_an_endless_request_line_is_rejected_before_it_ends(server: Server) -> None:
    with server.raw(START) as connection:
        connection.settimeout(30)
        sent = 0
        try:
            while sent < 64 * LONGEST_REQUEST_LINE:
                sent += connection.send(b"a" * 8192)
                time.sleep(0.001)
        except OSError:  # the server has responded and closed the connection
            pass
    assert sent < 64 * LONGEST_REQUEST_LINE
