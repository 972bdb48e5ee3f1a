"""Which users have which contents, in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping

from cloud_executor.backends.job_records import encode_string
from cloud_executor.backends.sqlite.database import SqliteDatabase

_GRANTED = "SELECT 1 FROM grants WHERE user = ? AND content = ?"
_GRANT = "INSERT OR IGNORE INTO grants (user, content, size) VALUES (?, ?, ?)"
_COUNT = """
    INSERT INTO granted_bytes (user, bytes) VALUES (?, ?)
    ON CONFLICT (user) DO UPDATE SET bytes = bytes + excluded.bytes
"""


class SqliteGrantStore:
    """A GrantStore in the embedded database."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    def grant(self, user: str, sizes: Mapping[str, int]) -> None:
        owner = encode_string(user)
        # A repeated upload needs no write, and therefore no flush to the disk.
        new = sizes.keys() - self.granted(user, sizes)

        def work(connection: sqlite3.Connection) -> None:
            added = 0
            for content in sorted(new):
                inserted = connection.execute(_GRANT, (owner, encode_string(content), sizes[content]))
                added += sizes[content] if inserted.rowcount else 0
            connection.execute(_COUNT, (owner, added))

        if new:
            self._database.write(work)

    def granted(self, user: str, content_hashes: Collection[str]) -> frozenset[str]:
        owner = encode_string(user)

        def work(connection: sqlite3.Connection) -> frozenset[str]:
            return frozenset(
                content
                for content in content_hashes
                if connection.execute(_GRANTED, (owner, encode_string(content))).fetchone()
            )

        return self._database.read(work)

    def bytes_of(self, user: str) -> int:
        rows = self._database.rows("SELECT bytes FROM granted_bytes WHERE user = ?", (encode_string(user),))
        return int(rows[0][0]) if rows else 0

    def forget(self, content_hash: str) -> None:
        content = encode_string(content_hash)

        def work(connection: sqlite3.Connection) -> None:
            rows = connection.execute("SELECT user, size FROM grants WHERE content = ?", (content,)).fetchall()
            connection.executemany(_COUNT, [(owner, -size) for owner, size in rows])
            connection.execute("DELETE FROM grants WHERE content = ?", (content,))

        if self._database.rows("SELECT 1 FROM grants WHERE content = ? LIMIT 1", (content,)):
            self._database.write(work)
