"""Streams of objects in Cloud Storage."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import google_crc32c
from google.cloud.storage.exceptions import DataCorruption
from requests import Response
from urllib3.exceptions import HTTPError

from cloud_executor.backends.google.storage.errors import RETRY, check, checksum_text, storage_errors
from cloud_executor.ports import ObjectNotFound

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_RESUMPTIONS = 5
"""Number of broken connections in a row, without a byte in between, after which reading fails."""

_CRC32C = re.compile(r"crc32c=([^,]+)")


class GcsReader(io.RawIOBase):
    """A stream of the bytes from offset `start` on. It resumes after broken connections and verifies the checksum.

    `get` requests the object, given the headers of the request and the generation of the object (None: the latest).
    Raises ObjectNotFound.
    """

    def __init__(self, get: Callable[[dict[str, str], str | None], Response], start: int) -> None:
        self._get = get
        self._position = start
        self._generation: str | None = None
        try:
            self._response = self._request()
        except BaseException:
            super().close()
            raise
        self.headers = self._response.headers
        self._generation = self.headers.get("X-Goog-Generation")
        # The checksum covers the whole object, so it cannot verify a part.
        found = _CRC32C.search(self.headers.get("X-Goog-Hash", ""))
        self._expected = found[1] if found and start == 0 else None
        self._checksum = google_crc32c.Checksum()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer)
        with storage_errors(ObjectNotFound):
            data = self._read(len(target))
            if data:
                self._checksum.update(data)
            elif self._expected not in (None, checksum_text(self._checksum)):
                raise DataCorruption(self._response)
        target[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._response.close()
        super().close()

    def _read(self, size: int) -> bytes:
        for _ in range(MAX_RESUMPTIONS):
            try:
                return self._body(size)
            except (HTTPError, OSError):
                self._response.close()
                self._response = self._request()
        return self._body(size)

    def _body(self, size: int) -> bytes:
        if self._response.status_code == 416:
            return b""
        data: bytes = self._response.raw.read(size)
        return data

    def _request(self) -> Response:
        # Without this header, the service would decompress objects whose metadata says they are compressed.
        headers = {"Accept-Encoding": "gzip"}
        if self._position:
            headers["Range"] = f"bytes={self._position}-"
        with storage_errors(ObjectNotFound):
            response: Response = RETRY(lambda: check(self._get(headers, self._generation), 200, 206, 416))()
        return response
