"""Building blocks of the responses of both APIs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from flask import Response

TEXT = "text/plain; charset=utf-8"
BLOB_JSON = "application/json"
EXECUTOR_JSON = "application/json; charset=utf-8"

Header = tuple[str, str]

_PIECE_BYTES = 64 * 1024
"""Minimum size of the pieces in which a long JSON response is sent, in bytes."""


def response(
    body: bytes | Iterable[bytes], content_type: str, status: int = 200, headers: Iterable[Header] = ()
) -> Response:
    """A response with this body, which is sent as it is produced if it is an iterable."""
    return Response(body, status, [("Content-Type", content_type), *headers])


def text(message: str, status: int = 200, headers: Iterable[Header] = ()) -> Response:
    return response(message.encode("utf-8", "replace"), TEXT, status, headers)


def json_stream(
    opening: bytes, members: Iterable[bytes], closing: bytes, content_type: str, headers: Iterable[Header] = ()
) -> Response:
    """A JSON object or list whose members are read while it is sent.

    The first piece is read before this function returns, so that an early error still gets its own status.
    """
    pieces = _joined(opening, members, closing)
    return response(chain((next(pieces),), pieces), content_type, 200, headers)


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
