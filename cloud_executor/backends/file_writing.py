"""Writes the bytes of a file while the caller produces more of them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain

from cloud_executor.backends.os_errors import os_errors

BATCH = 1 << 20
"""Size of a batch for the writing thread, in bytes. A smaller object is written without a thread."""

BATCHES_AHEAD = 8
"""Largest number of batches that wait to be written."""

FLUSH_EVERY = 32 << 20
"""Amount after which data is flushed while more is received, in bytes. It keeps the last flush short."""


def write(file: int, chunks: Iterable[bytes]) -> None:
    """Write all chunks. A large object is written while the caller produces, and often hashes, the next chunks."""
    batches = _batches(chunks)
    first = next(batches, [])
    following = next(batches, None)
    if following is None:
        with os_errors():
            write_batch(file, first)
        return
    with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(1) as flusher:
        writes: deque[Future[None]] = deque()
        flush: Future[None] | None = None
        unflushed = 0
        for batch in chain([first, following], batches):
            writes.append(writer.submit(write_batch, file, batch))
            unflushed += sum(map(len, batch))
            with os_errors():
                if len(writes) > BATCHES_AHEAD:
                    writes.popleft().result()
                if unflushed >= FLUSH_EVERY:
                    # Waiting for the previous flush limits the work of the last one. Its error must be raised here,
                    # because the system reports it only once.
                    if flush is not None:
                        flush.result()
                    flush = flusher.submit(os.fsync, file)
                    unflushed = 0
        with os_errors():
            for write in writes:
                write.result()
            if flush is not None:
                flush.result()


def _batches(chunks: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for chunk in chunks:
        batch.append(chunk)
        size += len(chunk)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def write_batch(file: int, batch: list[bytes]) -> None:
    for chunk in batch:
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(file, rest) :]
