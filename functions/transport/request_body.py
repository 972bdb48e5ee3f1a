"""The body of a request: as a stream for files, whole and bounded for documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from flask import Request

from cloud_executor.errors import Invalid, TooLarge
from cloud_executor.model.javascript import parse_json

CHUNK_BYTES = 1024 * 1024

MAX_DOCUMENT_BYTES = 32 * 1024 * 1024
"""of a JSON body: an output segment, or the metadata of a large artifact"""

MAX_DISCARDED_BYTES = 64 * 1024 * 1024
"""of a body that nobody wants; a client that goes on sending finds the connection closed"""


class BrokenUpload(Invalid):
    """The upload broke off: nothing of it was stored."""


def chunks(request: Request) -> Iterator[bytes]:
    """The bytes, whatever the content type says of them. Raises BrokenUpload if there are fewer than announced."""
    stream = request.stream
    expected = request.content_length
    received = 0
    while True:
        try:
            chunk = stream.read(CHUNK_BYTES)
        except Exception as error:  # each server has its own errors; whichever it is, the client went away
            raise BrokenUpload from error
        if not chunk:
            break
        received += len(chunk)
        yield chunk
    if expected is not None and received != expected:
        raise BrokenUpload


def document(request: Request) -> bytes:
    """The whole body. Raises TooLarge, BrokenUpload."""
    if (request.content_length or 0) > MAX_DOCUMENT_BYTES:
        raise _too_large()
    parts: list[bytes] = []
    received = 0
    for chunk in chunks(request):
        received += len(chunk)
        if received > MAX_DOCUMENT_BYTES:
            raise _too_large()
        parts.append(chunk)
    return b"".join(parts)


def json_fields(request: Request) -> Mapping[str, object]:
    """The fields of a JSON body; none if it is of another type, empty, or a list (docs/protocol.md: Request bodies).

    Raises Invalid for what is neither an object nor a list.
    """
    if request.mimetype != "application/json":
        return {}
    body = document(request)
    if not body:
        return {}
    value = parse_json(body)
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        return {}
    raise Invalid("The body must be a JSON object.")


def discard(request: Request) -> None:
    """Read what is left of the body: many clients look for the answer only after they have sent all of it."""
    left = MAX_DISCARDED_BYTES
    with suppress(Exception):  # each server has its own errors; whichever it is, the client went away
        while left > 0 and (chunk := request.stream.read(CHUNK_BYTES)):
            left -= len(chunk)


def _too_large() -> TooLarge:
    return TooLarge(f"The body is larger than {MAX_DOCUMENT_BYTES // (1024 * 1024)} MiB.")
