"""The body of a request: a stream for files, read whole and with a size limit for documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from flask import Request

from cloud_executor.errors import Invalid, TooLarge
from cloud_executor.model.documents.javascript import parse_json
from functions.transport.pace import keep_pace

CHUNK_BYTES = 1024 * 1024
"""Largest chunk read at a time, in bytes."""

MAX_DOCUMENT_BYTES = 32 * 1024 * 1024
"""Size limit for JSON bodies, in bytes; the largest are output segments and the metadata of large artifacts."""

MAX_FIELDS_BYTES = 1024 * 1024
"""Size limit for the fields of a request, in bytes."""

MAX_DISCARDED_BYTES = 64 * 1024 * 1024
"""Size limit for the rest of an unused body, in bytes; a client that sends more has its connection closed."""


class BrokenUpload(Invalid):
    """The upload ended early or was too slow, and nothing was stored; send it again."""


def chunks(request: Request) -> Iterator[bytes]:
    """The bytes, regardless of the content type.

    Raises BrokenUpload if they are fewer than the Content-Length, or arrive too slowly.
    """
    stream = request.stream
    keep_pace(request.environ)
    expected = request.content_length
    received = 0
    while True:
        try:
            chunk = stream.read(CHUNK_BYTES)
        except Exception as error:  # each server has its own errors, and all mean that the client disconnected
            raise BrokenUpload from error
        if not chunk:
            break
        received += len(chunk)
        yield chunk
    if expected is not None and received != expected:
        raise BrokenUpload


def document(request: Request, max_bytes: int = MAX_DOCUMENT_BYTES) -> bytes:
    """The whole body. Raises TooLarge, BrokenUpload."""
    if (request.content_length or 0) > max_bytes:
        raise _too_large(max_bytes)
    parts: list[bytes] = []
    received = 0
    for chunk in chunks(request):
        received += len(chunk)
        if received > max_bytes:
            raise _too_large(max_bytes)
        parts.append(chunk)
    return b"".join(parts)


def json_fields(request: Request, max_bytes: int = MAX_FIELDS_BYTES) -> Mapping[str, object]:
    """The fields of a JSON object (docs/protocol.md: Request bodies).

    There are none if the body has another type, is empty, or is a list. Raises Invalid for other JSON values, and
    TooLarge, BrokenUpload.
    """
    if request.mimetype != "application/json":
        return {}
    body = document(request, max_bytes)
    if not body:
        return {}
    value = parse_json(body)
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        return {}
    raise Invalid("The body must be a JSON object.")


def is_untyped_object(request: Request) -> bool:
    """Whether the body is a JSON object that `json_fields` ignores because of its type; false if it is too large.

    This reads the body.
    """
    if request.mimetype == "application/json":
        return False
    try:
        stream = chunks(request)
        first = next(stream, b"")
        if not first.lstrip().startswith(b"{"):
            return False
        body = bytearray(first)
        for chunk in stream:
            body += chunk
            if len(body) > MAX_FIELDS_BYTES:
                discard(request)
                return False
        return isinstance(parse_json(bytes(body)), dict)
    except Invalid:
        return False


def discard(request: Request) -> None:
    """Read the rest of the body: many clients read the response only after they have sent the whole body."""
    left = MAX_DISCARDED_BYTES
    keep_pace(request.environ)
    with suppress(Exception):  # each server has its own errors, and all mean that the client disconnected
        while left > 0 and (chunk := request.stream.read(CHUNK_BYTES)):
            left -= len(chunk)


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The body must not be larger than {max_bytes // (1024 * 1024)} MiB.")
