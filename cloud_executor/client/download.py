"""Downloads of blobs, resumed when a connection breaks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator

import httpx

from cloud_executor.client.errors import OutOfRange, ServerError, TransferFailed
from cloud_executor.client.transport import RESUME_SECONDS, IncompleteResponse, Transport, path_segment

_UNCOMPRESSED = {"Accept-Encoding": "identity"}


def blob_path(metadata_hash: str, path: str | None) -> str:
    """Return the URL path of a blob, or of one file of an artifact."""
    blob = f"/rest/blob/download/{path_segment(metadata_hash)}"
    return blob if path is None else f"{blob}/{path_segment(path)}"


def stream_blob(transport: Transport, url_path: str) -> Iterator[bytes]:
    """Yield each byte exactly once and in order. When a connection breaks, a new one resumes at the next byte.

    Raises NotFound, TransferFailed.
    """
    position = 0
    etag: str | None = None
    pauses = iter(RESUME_SECONDS)
    while True:
        try:
            with transport.stream(url_path, _UNCOMPRESSED | _resume_headers(position, etag)) as response:
                if etag is not None and response.headers.get("etag") != etag:
                    raise ServerError("The file changed during the download: try again.")
                etag = response.headers.get("etag")
                # A server that cannot resume, such as any server within a zip, starts from the first byte again.
                known = 0 if _resumes_at(response, position) else position
                for chunk in response.iter_bytes():
                    fresh = chunk[known:]
                    known -= len(chunk) - len(fresh)
                    if fresh:
                        position += len(fresh)
                        pauses = iter(RESUME_SECONDS)
                        yield fresh
                return
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
