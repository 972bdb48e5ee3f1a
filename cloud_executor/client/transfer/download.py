"""Downloads of blobs, resumed when a connection breaks."""

from __future__ import annotations

import hashlib
import re
import time
from collections import deque
from collections.abc import Iterator

import httpx

from cloud_executor.client.errors import OutOfRange, ServerError, TransferFailed
from cloud_executor.client.progress import Progress
from cloud_executor.client.transport import RESUME_SECONDS, IncompleteResponse, Transport, path_segment

_SHA1_ETAG = re.compile('"[0-9a-f]{40}"')

_UNCOMPRESSED = {"Accept-Encoding": "identity"}


def blob_path(metadata_hash: str, path: str | None) -> str:
    """Return the URL path of a blob, or of one file of an artifact."""
    blob = f"/rest/blob/download/{path_segment(metadata_hash)}"
    return blob if path is None else f"{blob}/{path_segment(path)}"


def stream_blob(transport: Transport, url_path: str, start: int = 0, name: str = "") -> Iterator[bytes]:
    """Yield each byte from `start` once and in order. When a connection breaks, a new one resumes at the next byte.

    A whole file of whose bytes the server names the hash is verified. Raises NotFound, TransferFailed.
    """
    position = start
    digest = hashlib.sha1(usedforsecurity=False)
    etag: str | None = None
    pauses = iter(RESUME_SECONDS)
    while True:
        try:
            with transport.stream(url_path, _UNCOMPRESSED | _resume_headers(position, etag)) as response:
                if etag is not None and response.headers.get("etag") != etag:
                    raise ServerError("The file changed during the download: try again.")
                etag = response.headers.get("etag")
                total = _total(response, position)
                # A server that cannot resume, such as any server within a zip, starts from the first byte again.
                known = 0 if _resumes_at(response, position) else position
                for chunk in response.iter_bytes():
                    fresh = chunk[known:]
                    known -= len(chunk) - len(fresh)
                    if fresh:
                        position += len(fresh)
                        pauses = iter(RESUME_SECONDS)
                        digest.update(fresh)
                        yield fresh
                        if transport.on_progress is not None:
                            transport.on_progress(Progress("Downloading", name, position, total))
                if not start and _is_hash_of_content(response) and etag != f'"{digest.hexdigest()}"':
                    raise TransferFailed("The downloaded file is damaged: try again.")
                return
        except OutOfRange:
            if position and position == start:
                return  # nothing follows
            raise
        except IncompleteResponse as error:
            pause = next(pauses, None)
            if pause is None:
                raise TransferFailed from error
        time.sleep(pause)


def read_tail(transport: Transport, url_path: str, size: int) -> bytes:
    """Return up to `size` bytes from the end. Raises NotFound."""
    for pause in (*RESUME_SECONDS, None):
        try:
            return _tail(transport, url_path, size)
        except IncompleteResponse as error:
            if pause is None:
                raise TransferFailed from error
            time.sleep(pause)
        except OutOfRange:
            return b""  # an empty file has no satisfiable range
    raise AssertionError("the last attempt returns or raises")


def _tail(transport: Transport, url_path: str, size: int) -> bytes:
    last: deque[bytes] = deque()
    kept = 0
    with transport.stream(url_path, _UNCOMPRESSED | {"Range": f"bytes=-{size}"}) as response:
        for chunk in response.iter_bytes():
            last.append(chunk)
            kept += len(chunk)
            while kept - len(last[0]) >= size:
                kept -= len(last.popleft())
    return b"".join(last)[-size:]


def _is_hash_of_content(response: httpx.Response) -> bool:
    """Whether the ETag is the SHA-1 of the bytes. The zip of an artifact has another hash, and no ranges."""
    has_ranges = response.headers.get("accept-ranges") == "bytes"
    return has_ranges and _SHA1_ETAG.fullmatch(response.headers.get("etag", "")) is not None


def _total(response: httpx.Response, position: int) -> int | None:
    length = response.headers.get("content-length", "")
    partial = response.status_code == httpx.codes.PARTIAL_CONTENT
    return int(length) + (position if partial else 0) if length.isdecimal() else None


def _resume_headers(position: int, etag: str | None) -> dict[str, str]:
    if not position:
        return {}
    return {"Range": f"bytes={position}-"} | ({"If-Range": etag} if etag is not None else {})


def _resumes_at(response: httpx.Response, position: int) -> bool:
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        return False
    if not response.headers.get("content-range", "").startswith(f"bytes {position}-"):
        raise ServerError("The server did not send the requested bytes: try again.")
    return True
