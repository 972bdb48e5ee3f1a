"""A job's results as objects: files to list, open, and download."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from cloud_executor.client.results.folder import staged
from cloud_executor.client.results.tree import ResultTree
from cloud_executor.client.results.unpacking import unpack


class Downloads(Protocol):
    """The part of the client that results need."""

    def files(self, metadata_hash: str) -> list[str] | None: ...

    def chunks(self, metadata_hash: str, path: str | None = None) -> Iterator[bytes]: ...


class Result:
    """One artifact of a job's results, or another blob."""

    def __init__(self, client: Downloads, blob_hash: str) -> None:
        self._client = client
        self.hash = blob_hash
        """The blob's hash."""

    def __repr__(self) -> str:
        return f"Result({self.hash!r})"

    def files(self) -> list[str]:
        """Return the paths of the files. Raises NotFound."""
        return self._client.files(self.hash) or []

    def open(self, path: str) -> BinaryIO:
        """Open one file to read its bytes while they arrive. Raises NotFound."""
        chunks = self._client.chunks(self.hash, path)
        first = next(chunks, b"")  # raises NotFound here, not at the first read
        return io.BufferedReader(_Stream(first, chunks))

    def read(self, path: str) -> bytes:
        """Return the bytes of one file. Raises NotFound."""
        return b"".join(self._client.chunks(self.hash, path))

    def download(self, folder: Path | str) -> int:
        """Store the files below a folder, and return their number.

        The files appear only when all of them are complete, and replace files of the same names. Raises InvalidResult,
        NotFound, and OSError.
        """
        Path(folder).mkdir(parents=True, exist_ok=True)
        return store_results(self._client, [self.hash], Path(folder))


def store_results(client: Downloads, hashes: Iterable[str], folder: Path) -> int:
    """Store the files of several artifacts below a folder that exists, as `Result.download` does."""
    # Artifacts are selections from the same files, so a file in several artifacts is stored once.
    with staged(folder) as staging:
        tree = ResultTree(staging)
        for result_hash in hashes:
            paths = client.files(result_hash)
            with tempfile.TemporaryFile(dir=folder) as zipped:
                for chunk in client.chunks(result_hash):
                    zipped.write(chunk)
                left = unpack(zipped, tree, paths)
            for path in left:
                if path not in tree:
                    tree.add(path, client.chunks(result_hash, path))
        tree.close()
    return len(tree)


class _Stream(io.RawIOBase):
    def __init__(self, first: bytes, chunks: Iterator[bytes]) -> None:
        self._rest = first
        self._chunks = chunks

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed: any buffer
        while not self._rest:
            try:
                self._rest = next(self._chunks)
            except StopIteration:
                return 0
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count
