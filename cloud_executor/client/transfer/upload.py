"""Uploads through the server or, for large files, directly to its storage in a resumable session."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

import httpx

from cloud_executor.client.errors import ServerError, TransferFailed
from cloud_executor.client.progress import OnProgress, Progress
from cloud_executor.client.transport import RESUME_SECONDS, Content, Transport, json_of, path_segment
from cloud_executor.errors import NotFound, Unavailable

READ_BYTES = 1024 * 1024

DIRECT_BYTES = 16 * 1024 * 1024
"""Largest upload through the server, in bytes. A cloud function accepts at most 32 MiB.

Larger files go directly to the storage if the server supports it.
"""

PIECE_BYTES = 32 * 1024 * 1024
"""Size of one piece of a direct upload, in bytes. Cloud Storage requires a multiple of 256 KiB."""

MAX_SESSIONS = 3
"""Number of sessions tried for one upload: a session can expire before it completes."""

VERIFY_SECONDS = 3600.0
"""Longest time, in seconds, that the server may take to verify a direct upload."""

_RECEIVED = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")


class SessionExpired(Exception):
    """The upload session no longer exists."""


@dataclass(frozen=True, slots=True)
class Source:
    """The rest of a seekable stream."""

    stream: BinaryIO
    start: int
    size: int
    name: str = ""
    on_progress: OnProgress | None = None

    def read(self, position: int, size: int, activity: str = "Uploading") -> Iterator[bytes]:
        """Yield up to `size` bytes from this position. It can be called repeatedly."""
        self.stream.seek(self.start + position)
        while size > 0 and (chunk := self.stream.read(min(READ_BYTES, size))):
            size -= len(chunk)
            position += len(chunk)
            yield chunk
            if self.on_progress is not None:
                self.on_progress(Progress(activity, self.name, position, self.size))

    def sha1(self) -> str:
        digest = hashlib.sha1(usedforsecurity=False)
        for chunk in self.read(0, self.size, "Hashing"):
            digest.update(chunk)
        return digest.hexdigest()


def upload_stream(transport: Transport, name: str, stream: BinaryIO) -> str:
    """Store the rest of a stream, and return the blob's hash.

    A stream that is not seekable is sent once, without a retry, or copied to a temporary file first if it is large.
    """
    with ExitStack() as stack:
        if not stream.seekable():
            head = _head(stream)
            if len(head) <= DIRECT_BYTES:
                return _create_file(transport, name, lambda: (head,), {}, repeatable=False)
            copy = stack.enter_context(tempfile.TemporaryFile())
            copy.write(head)
            shutil.copyfileobj(stream, copy, READ_BYTES)
            copy.seek(0)
            stream = copy
        start = stream.tell()
        source = Source(stream, start, stream.seek(0, os.SEEK_END) - start, name, transport.on_progress)
        if source.size > DIRECT_BYTES and (blob_hash := _upload_directly(transport, name, source)):
            return blob_hash
        length = {"Content-Length": str(source.size)}
        return _create_file(transport, name, lambda: source.read(0, source.size), length, repeatable=True)


def _head(stream: BinaryIO) -> bytes:
    head = bytearray()
    while len(head) <= DIRECT_BYTES and (chunk := stream.read(READ_BYTES)):
        head += chunk
    return bytes(head)


def _create_file(
    transport: Transport, name: str, content: Content, headers: Mapping[str, str], *, repeatable: bool
) -> str:
    return stored_hash(
        transport.request(
            "POST",
            f"/rest/blob/createFile/{path_segment(name)}",
            content=content,
            headers={"Content-Type": "application/octet-stream", **headers},
            repeatable=repeatable,
        )
    )


def _upload_directly(transport: Transport, name: str, source: Source) -> str | None:
    """Return the blob's hash, or None if the server, such as WebGME's, only accepts uploads through itself."""
    announcement = {"name": name, "size": source.size, "sha1": source.sha1()}
    for _ in range(MAX_SESSIONS):
        try:
            started = transport.post_json("/rest/blob/uploads", announcement)
        except NotFound:
            return None
        if started.status_code != httpx.codes.CREATED:
            return stored_hash(started)  # the content is already stored
        session = json_of(started)
        try:
            upload_id, url = str(session["id"]), str(session["url"])
        except (KeyError, TypeError) as error:
            raise ServerError from error
        try:
            _send(transport, url, source)
            return stored_hash(
                transport.request(
                    "POST", f"/rest/blob/uploads/{path_segment(upload_id)}/complete", read_seconds=VERIFY_SECONDS
                )
            )
        except (SessionExpired, NotFound):
            continue
    raise TransferFailed


def _send(transport: Transport, url: str, source: Source) -> None:
    """Send all bytes, piece by piece. Raises SessionExpired, TransferFailed."""
    position = received = 0
    known = True
    pauses = iter(RESUME_SECONDS)
    while True:
        try:
            # After a broken connection, only the storage knows how much has arrived.
            response = _put(transport, url, source, position) if known else _get_status(transport, url, source.size)
        except Unavailable as error:
            known = False
            cause: Exception | None = error
        else:
            if response.status_code in (httpx.codes.OK, httpx.codes.CREATED):
                return
            was_status, known, cause = not known, True, None
            position = _received(response, source.size)
            if position > received:
                received, pauses = position, iter(RESUME_SECONDS)
                continue
            if was_status:
                continue
        pause = next(pauses, None)
        if pause is None:
            raise TransferFailed from cause
        time.sleep(pause)


def _put(transport: Transport, url: str, source: Source, position: int) -> httpx.Response:
    size = min(PIECE_BYTES, source.size - position)
    content_range = f"bytes {position}-{position + size - 1}/{source.size}"
    headers = {"Content-Length": str(size), "Content-Range": content_range}
    return _request(transport, url, lambda: source.read(position, size), headers)


def _get_status(transport: Transport, url: str, size: int) -> httpx.Response:
    return _request(transport, url, lambda: (), {"Content-Length": "0", "Content-Range": f"bytes */{size}"})


def _request(transport: Transport, url: str, content: Content, headers: Mapping[str, str]) -> httpx.Response:
    try:
        return transport.put_to_storage(url, content, headers)
    except NotFound as error:
        raise SessionExpired from error


def _received(response: httpx.Response, size: int) -> int:
    """Return the number of bytes that have arrived, from a response that asks for more."""
    if response.status_code != httpx.codes.PERMANENT_REDIRECT:
        raise ServerError
    found = response.headers.get("range")
    if found is None:
        return 0
    last = _RECEIVED.fullmatch(found)
    if last is None or int(last[1]) >= size:
        raise ServerError
    return int(last[1]) + 1


def stored_hash(response: httpx.Response) -> str:
    """Return the hash in a response of the blob API. Raises ServerError."""
    document = json_of(response)
    if not isinstance(document, dict) or not document:
        raise ServerError
    return str(next(iter(document)))
