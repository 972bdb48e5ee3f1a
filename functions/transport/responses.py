"""Answers, as both APIs give them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from flask import Response

TEXT = "text/plain; charset=utf-8"
BLOB_JSON = "application/json"
EXECUTOR_JSON = "application/json; charset=utf-8"

_ANYBODY_MAY_ASK = ("Access-Control-Allow-Origin", "*")
_PREFLIGHT = (
    _ANYBODY_MAY_ASK,
    ("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS"),
    (
        "Access-Control-Allow-Headers",
        "Authorization, Content-Type, If-None-Match, If-Range, Range, X-Api-Token, X-Executor-Nonce",
    ),
    ("Access-Control-Max-Age", "86400"),
)

Header = tuple[str, str]

_PIECE_BYTES = 64 * 1024
"""how much of a long JSON answer is sent at a time"""


def answer(body: bytes, content_type: str, status: int = 200, headers: Iterable[Header] = ()) -> Response:
    """A whole body.

    It is given as an iterator: for other responses functions-framework first reads what is left of the request's body
    into memory, which a refused upload must not be allowed to fill.
    """
    response_headers = [_ANYBODY_MAY_ASK, ("Content-Type", content_type), ("Content-Length", str(len(body))), *headers]
    return Response(iter((body,)), status, response_headers)


def text(message: str, status: int = 200, headers: Iterable[Header] = ()) -> Response:
    return answer(message.encode("utf-8", "replace"), TEXT, status, headers)


def stream(chunks: Iterable[bytes], content_type: str, status: int = 200, headers: Iterable[Header] = ()) -> Response:
    """A body that is made while it is sent."""
    return Response(chunks, status, [_ANYBODY_MAY_ASK, ("Content-Type", content_type), *headers])


def json_stream(
    opening: bytes, members: Iterable[bytes], closing: bytes, content_type: str, headers: Iterable[Header] = ()
) -> Response:
    """A JSON object or list whose members are read while it is sent.

    What can be sent at once is read before this returns, so that an error still becomes a status.
    """
    pieces = _joined(opening, members, closing)
    return stream(chain((next(pieces),), pieces), content_type, 200, headers)


def _joined(opening: bytes, members: Iterable[bytes], closing: bytes) -> Iterator[bytes]:
    pending, size = [opening], 0
    for member in members:
        if size or len(pending) > 1:
            pending.append(b",")
        pending.append(member)
        size += len(member)
        if size >= _PIECE_BYTES:
            yield b"".join(pending)
            pending, size = [b""], 1
    yield b"".join((*pending, closing))


def preflight() -> Response:
    """What a browser asks before it lets a page of another origin make a request."""
    return Response(iter(()), 204, list(_PREFLIGHT))
