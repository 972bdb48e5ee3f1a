"""The bytes of a blob, across broken connections."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator

import httpx

from cloud_executor.client.errors import OutOfRange, ServerFault, TransferBroken
from cloud_executor.client.transport import ConnectionBroken, Transport, segment

RESUME_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
"""pauses before going on; as many breaks without a new byte are borne"""

_AS_IT_IS = {"Accept-Encoding": "identity"}


def address_of(metadata_hash: str, path: str | None) -> str:
    """Where a blob's bytes are, or those of one file of an artifact."""
    address = f"/rest/blob/download/{segment(metadata_hash)}"
    return address if path is None else f"{address}/{segment(path)}"


def chunks(transport: Transport, address: str) -> Iterator[bytes]:
    """All the bytes, once and in order. Where a connection ends too early the next one goes on.

    Raises NotFound, TransferBroken.
    """
    position = 0
    etag: str | None = None
    pauses = iter(RESUME_SECONDS)
    while True:
        try:
            with transport.stream(address, _AS_IT_IS | _resume_headers(position, etag)) as response:
                if etag is not None and response.headers.get("etag") != etag:
                    raise ServerFault("What is downloaded has changed meanwhile.")
                etag = response.headers.get("etag")
                # A server that cannot resume, as none can within a zip, begins anew.
                known = 0 if _resumes_at(response, position) else position
                for chunk in response.iter_bytes():
                    fresh = chunk[known:]
                    known -= len(chunk) - len(fresh)
                    if fresh:
                        position += len(fresh)
                        pauses = iter(RESUME_SECONDS)
                        yield fresh
                return
        except ConnectionBroken as error:
            pause = next(pauses, None)
            if pause is None:
                raise TransferBroken from error
        time.sleep(pause)


def tail(transport: Transport, address: str, size: int) -> bytes:
    """At most the last `size` bytes. Raises NotFound."""
    last: deque[bytes] = deque()
    kept = 0
    try:
        with transport.stream(address, _AS_IT_IS | {"Range": f"bytes=-{size}"}) as response:
            for chunk in response.iter_bytes():
                last.append(chunk)
                kept += len(chunk)
                while kept - len(last[0]) >= size:
                    kept -= len(last.popleft())
    except ConnectionBroken as error:
        raise TransferBroken from error
    except OutOfRange:
        return b""  # of a file without a byte nothing is in range
    return b"".join(last)[-size:]


def _resume_headers(position: int, etag: str | None) -> dict[str, str]:
    if not position:
        return {}
    return {"Range": f"bytes={position}-"} | ({"If-Range": etag} if etag is not None else {})


def _resumes_at(response: httpx.Response, position: int) -> bool:
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        return False
    if not response.headers.get("content-range", "").startswith(f"bytes {position}-"):
        raise ServerFault("The server sent other bytes than those asked for.")
    return True
