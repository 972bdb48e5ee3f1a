"""What a case of the benchmark is, and what it works with."""

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
from bench.load import Requests, each_once
from bench.processes import MIB
from bench.stack import Side
from bench.table import Row
from bench.workplace import BenchmarkError, Workplace

ANSWER_SECONDS = 60

Measured = Generator[Mapping[str, float], None, None]
"""the values of a case's rows, by their keys, once for each repetition that is asked for"""


@dataclass(frozen=True, slots=True)
class Rig:
    """A side to be measured, and where."""

    place: Workplace
    side: Side

    @contextmanager
    def data(self) -> Iterator[Path]:
        """A folder for the data of a stack.

        Its large files go at once, its small ones only with the whole run: a disk that has just deleted thousands of
        files can be slow in making new ones.
        """
        folder = self.place.new_folder(self.side.name)
        try:
            yield folder
        finally:
            for path in folder.rglob("*"):
                if path.is_file() and path.stat().st_size >= MIB:
                    path.unlink()


@dataclass(frozen=True, slots=True)
class Case:
    """Some figures that are measured together."""

    name: str
    rows: Sequence[Row]
    measure: Callable[[Rig], Measured]

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Each once."""
        return tuple(dict.fromkeys(limit for row in self.rows for limit in row.limits))


class Api:
    """JSON over one kept-alive connection."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=ANSWER_SECONDS)

    def get(self, path: str) -> dict[str, Any]:
        return self._ask("GET", path, None)

    def post(self, path: str, body: bytes = b"") -> dict[str, Any]:
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        """Raises BenchmarkError if the answer is not 200."""
        try:
            answer, text = self._exchange(method, path, body)
        except ConnectionError:  # it was idle for so long that the server closed it
            self._connection.close()
            answer, text = self._exchange(method, path, body)
        if answer.status != 200:
            raise BenchmarkError(f"{method} {path} was answered {answer.status}: {text[:300]!r}")
        document: dict[str, Any] = json.loads(text)
        return document

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[http.client.HTTPResponse, bytes]:
        self._connection.request(method, path, body, {"Content-Type": "application/octet-stream"} if body else {})
        answer = self._connection.getresponse()
        return answer, answer.read()


def blob_hash(answer: Mapping[str, Any]) -> str:
    """Of the blob that was stored."""
    return next(iter(answer))


@dataclass(frozen=True, slots=True)
class Stored:
    """Blobs that were stored, and how long that took."""

    hashes: dict[str, str]  # by name
    seconds: float


def store_blobs(url: str, paths: Sequence[str], body_bytes: int, seed: int = 0) -> Stored:
    """Stores files under the last segments of the paths; all their bytes differ, also from those of another seed."""
    outcome = each_once(url, Requests("POST", paths, body_bytes, seed), keep_answers=True)
    names = [path.rpartition("/")[2] for path in paths]
    hashes = {name: blob_hash(json.loads(answer)) for name, answer in zip(names, outcome.answers, strict=True)}
    return Stored(hashes, outcome.seconds)
