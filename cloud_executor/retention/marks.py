"""What a run knows about all objects, in a temporary database on disk: there can be millions of them."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from cloud_executor.model.blobs.retention import Kind, Target

CACHE_KIB = 64 * 1024
"""Memory that the database uses, in KiB."""

_SCHEMA = (
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
    f"PRAGMA cache_size = -{CACHE_KIB}",
    "CREATE TABLE needed (object BLOB PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE needs (document BLOB, target BLOB, PRIMARY KEY (document, target)) WITHOUT ROWID",
    "CREATE INDEX needs_of_target ON needs (target)",
    """
    CREATE TABLE unneeded (
        object BLOB PRIMARY KEY,
        since INTEGER NOT NULL,
        due INTEGER NOT NULL,
        size INTEGER NOT NULL,
        version TEXT NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX unneeded_due ON unneeded (object) WHERE due",
    "BEGIN",
)

_FOLLOW = """
INSERT OR IGNORE INTO needed
WITH RECURSIVE found (object) AS (
    SELECT target FROM needs JOIN needed ON needs.document = needed.object
    UNION SELECT target FROM needs JOIN found ON needs.document = found.object
)
SELECT object FROM found
"""


class Unneeded(NamedTuple):
    """A document that nothing needs."""

    hash: str
    since: datetime
    """Time since which that is known."""
    due: bool
    """Whether it has been so for long enough."""
    size: int
    """Size, in bytes."""
    version: str
    """Version of the object."""


class Marks(AbstractContextManager["Marks"]):
    """What is needed, what each document names, and the documents that nothing needs. One thread can use it."""

    def __enter__(self) -> Marks:
        self._folder = tempfile.TemporaryDirectory(prefix="executor-gc-")
        self._database = sqlite3.connect(Path(self._folder.name) / "marks.sqlite", isolation_level=None)
        for statement in _SCHEMA:
            self._database.execute(statement)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        self._folder.cleanup()

    def need(self, targets: Iterable[Target]) -> None:
        """Mark the objects. Documents among them wait no longer for their deletion."""
        rows = [(encoded(target),) for target in targets]
        self._database.executemany("INSERT OR IGNORE INTO needed VALUES (?)", rows)
        self._database.executemany("DELETE FROM unneeded WHERE object = ?", rows)

    def add_document(self, document: Target, targets: Iterable[Target]) -> None:
        """Add what a stored document names."""
        if document in self:
            self.need(targets)  # which spares the rows of most documents
            return
        rows = ((encoded(document), encoded(target)) for target in targets)
        self._database.executemany("INSERT OR IGNORE INTO needs VALUES (?, ?)", rows)

    def follow(self) -> None:
        """Mark everything that marked documents name, directly or not. Call it after the last document."""
        self._database.execute(_FOLLOW)

    def __contains__(self, target: Target) -> bool:
        found = self._database.execute("SELECT 1 FROM needed WHERE object = ?", (encoded(target),))
        return found.fetchone() is not None

    # Documents that nothing needs -----------------------------------------------------------------------------------

    def add_unneeded(self, found: Unneeded) -> None:
        row = (_document(found.hash), int(found.since.timestamp()), found.due, found.size, found.version)
        self._database.execute("INSERT OR REPLACE INTO unneeded VALUES (?, ?, ?, ?, ?)", row)

    def deletable(self, limit: int) -> list[Unneeded]:
        """Documents that are due, and that no stored document names."""
        rows = self._database.execute(
            "SELECT * FROM unneeded WHERE due AND NOT EXISTS (SELECT 1 FROM needs WHERE target = object) LIMIT ?",
            (limit,),
        )
        return list(map(_unneeded, rows))

    def remove(self, metadata_hash: str) -> None:
        """Forget a document that was deleted, and what it names."""
        document = (_document(metadata_hash),)
        self._database.execute("DELETE FROM unneeded WHERE object = ?", document)
        self._database.execute("DELETE FROM needs WHERE document = ?", document)

    def keep(self, metadata_hash: str) -> None:
        """Note that a document is not due after all."""
        self._database.execute("UPDATE unneeded SET due = 0 WHERE object = ?", (_document(metadata_hash),))

    def unneeded(self) -> Iterator[Unneeded]:
        """The documents that nothing needs and that are still stored, ordered by hash."""
        return map(_unneeded, self._database.execute("SELECT * FROM unneeded ORDER BY object"))

    def need_what_documents_name(self) -> None:
        """Mark what the stored documents name, needed or not."""
        self._database.execute("INSERT OR IGNORE INTO needed SELECT target FROM needs")


def encoded(target: Target) -> bytes:
    return bytes((target.kind,)) + bytes.fromhex(target.hash)


def _document(metadata_hash: str) -> bytes:
    return encoded(Target(Kind.METADATA, metadata_hash))


def _unneeded(row: tuple[bytes, int, int, int, str]) -> Unneeded:
    document, since, due, size, version = row
    return Unneeded(document[1:].hex(), datetime.fromtimestamp(since, UTC), bool(due), size, version)
