"""What a benchmark case is, and the tools that cases share."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.limits import Limit
from bench.load.generators import Requests, each_once
from bench.processes import MIB
from bench.servers.queues import Queue
from bench.servers.stack import Side
from bench.table import Row
from bench.workspace import BenchmarkError, Workspace

TIMEOUT_SECONDS = 60

Measured = Generator[Mapping[str, float], None, None]
"""Values of a case's rows by their keys, once per repetition."""


@dataclass(frozen=True, slots=True)
class Rig:
    """A side to measure, and the workspace to measure it in."""

    workspace: Workspace
    side: Side

    @contextmanager
    def data(self) -> Iterator[Path]:
        """Yield a folder for the data of a stack.

        Its large files are deleted at the end of the block, its small ones only at the end of the whole run: a disk
        that has just deleted thousands of files can be slow to create new ones.
        """
        folder = self.workspace.new_folder(self.side.name)
        try:
            yield folder
        finally:
            for path in folder.rglob("*"):
                if path.is_file() and path.stat().st_size >= MIB:
                    path.unlink()


@dataclass(frozen=True, slots=True)
class Case:
    """A set of figures that are measured together."""

    name: str
    rows: Sequence[Row]
    measure: Callable[[Rig], Measured]
    measure_queue: Callable[[Workspace, Queue], Measured] | None = None
    """Measures some of the rows with a job queue; None: the rows have no meaning there."""

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits of all rows, without duplicates."""
        return tuple(dict.fromkeys(limit for row in self.rows for limit in row.limits))


class Api:
    """A JSON client with one kept-alive connection."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=TIMEOUT_SECONDS)

    def get(self, path: str) -> dict[str, Any]:
        return self._request("GET", path, None)

    def post(self, path: str, body: bytes = b"") -> dict[str, Any]:
        return self._request("POST", path, body)

    def _request(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        """Raises BenchmarkError if the status is not 200."""
        try:
            status, content = self._exchange(method, path, body)
        except ConnectionError:  # the server has closed the connection because it was idle
            self._connection.close()
            status, content = self._exchange(method, path, body)
        if status != 200:
            raise BenchmarkError(f"{method} {path} failed with status {status}: {content[:300]!r}")
        document: dict[str, Any] = json.loads(content)
        return document

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        self._connection.request(method, path, body, {"Content-Type": "application/octet-stream"} if body else {})
        response = self._connection.getresponse()
        return response.status, response.read()


def blob_hash(response: Mapping[str, Any]) -> str:
    """Hash of the blob that a request has stored."""
    return next(iter(response))


@dataclass(frozen=True, slots=True)
class Stored:
    """Hashes of stored blobs by their names, and the time it took to store them, in seconds."""

    hashes: dict[str, str]
    seconds: float


def store_blobs(url: str, paths: Sequence[str], body_bytes: int, seed: int = 0) -> Stored:
    """Store files named by the last segments of the paths; each differs from all others, also across seeds."""
    outcome = each_once(url, Requests("POST", paths, body_bytes, seed), keep_bodies=True)
    names = [path.rpartition("/")[2] for path in paths]
    hashes = {name: blob_hash(json.loads(body)) for name, body in zip(names, outcome.bodies, strict=True)}
    return Stored(hashes, outcome.seconds)
