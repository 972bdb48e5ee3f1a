"""Uploads: through the server or, large ones, past it, in a session that goes on where a connection broke."""

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

from cloud_executor.client.errors import ServerFault, TransferBroken
from cloud_executor.client.transport import Content, Transport, json_of, segment
from cloud_executor.errors import NotFound, Unavailable

READ_BYTES = 1024 * 1024

DIRECT_BYTES = 16 * 1024 * 1024
"""larger files go past the server if it can have that: a cloud function takes at most 32 MiB"""

PIECE_BYTES = 32 * 1024 * 1024
"""sent at once; Cloud Storage wants multiples of 256 KiB"""

RESUME_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
"""pauses before going on; as many pieces without a new byte are borne"""

BEGINNINGS = 3
"""how often an upload is begun whose session ended"""

VERIFY_SECONDS = 3600.0
"""how long the server may read what was sent before it answers"""

_RECEIVED = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")


class SessionEnded(Exception):
    """The address for an upload is no longer one."""


@dataclass(frozen=True, slots=True)
class Source:
    """A part of a file, up to its end."""

    stream: BinaryIO
    start: int
    size: int

    def read(self, position: int, size: int) -> Iterator[bytes]:
        """These bytes; may be called again."""
        self.stream.seek(self.start + position)
        while size > 0 and (chunk := self.stream.read(min(READ_BYTES, size))):
            size -= len(chunk)
            yield chunk

    def sha1(self) -> str:
        digest = hashlib.sha1(usedforsecurity=False)
        for chunk in self.read(0, self.size):
            digest.update(chunk)
        return digest.hexdigest()


def upload(transport: Transport, name: str, stream: BinaryIO) -> str:
    """Store what is left of a stream; the hash of the blob.

    A stream that cannot be rewound is sent once and never again if it is small, and else copied to a file first.
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
        source = Source(stream, start, stream.seek(0, os.SEEK_END) - start)
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
            f"/rest/blob/createFile/{segment(name)}",
            content=content,
            headers={"Content-Type": "application/octet-stream", **headers},
            repeatable=repeatable,
        )
    )


def _upload_directly(transport: Transport, name: str, source: Source) -> str | None:
    """The hash of the blob; None: the server takes files of this size itself, as WebGME's does."""
    announced = {"name": name, "size": source.size, "sha1": source.sha1()}
    for _ in range(BEGINNINGS):
        try:
            begun = transport.post_json("/rest/blob/uploads", announced)
        except NotFound:
            return None
        if begun.status_code != httpx.codes.CREATED:
            return stored_hash(begun)  # these bytes are there
        session = json_of(begun)
        try:
            upload_id, url = str(session["id"]), str(session["url"])
        except (KeyError, TypeError) as error:
            raise ServerFault from error
        try:
            _send(transport, url, source)
            return stored_hash(
                transport.request(
                    "POST", f"/rest/blob/uploads/{segment(upload_id)}/complete", read_seconds=VERIFY_SECONDS
                )
            )
        except (SessionEnded, NotFound):
            continue
    raise TransferBroken


def _send(transport: Transport, url: str, source: Source) -> None:
    """All bytes, piece by piece. Raises SessionEnded, TransferBroken."""
    position = received = 0
    known = True
    pauses = iter(RESUME_SECONDS)
    while True:
        try:
            # After a broken connection only the other side knows how much has arrived.
            answer = _put(transport, url, source, position) if known else _ask(transport, url, source.size)
        except Unavailable as error:
            known = False
            fault: Exception | None = error
        else:
            if answer.status_code in (httpx.codes.OK, httpx.codes.CREATED):
                return
            asked, known, fault = not known, True, None
            position = _received(answer, source.size)
            if position > received:
                received, pauses = position, iter(RESUME_SECONDS)
                continue
            if asked:
                continue
        pause = next(pauses, None)
        if pause is None:
            raise TransferBroken from fault
        time.sleep(pause)


def _put(transport: Transport, url: str, source: Source, position: int) -> httpx.Response:
    size = min(PIECE_BYTES, source.size - position)
    place = f"bytes {position}-{position + size - 1}/{source.size}"
    headers = {"Content-Length": str(size), "Content-Range": place}
    return _answer(transport, url, lambda: source.read(position, size), headers)


def _ask(transport: Transport, url: str, size: int) -> httpx.Response:
    return _answer(transport, url, lambda: (), {"Content-Length": "0", "Content-Range": f"bytes */{size}"})


def _answer(transport: Transport, url: str, content: Content, headers: Mapping[str, str]) -> httpx.Response:
    try:
        return transport.put_elsewhere(url, content, headers)
    except NotFound as error:
        raise SessionEnded from error


def _received(answer: httpx.Response, size: int) -> int:
    """How many bytes have arrived, by an answer that more are wanted."""
    if answer.status_code != httpx.codes.PERMANENT_REDIRECT:
        raise ServerFault
    found = answer.headers.get("range")
    if found is None:
        return 0
    last = _RECEIVED.fullmatch(found)
    if last is None or int(last[1]) >= size:
        raise ServerFault
    return int(last[1]) + 1


def stored_hash(response: httpx.Response) -> str:
    """The hash that an answer of the blob API tells of. Raises ServerFault."""
    document = json_of(response)
    if not isinstance(document, dict) or not document:
        raise ServerFault
    return str(next(iter(document)))
