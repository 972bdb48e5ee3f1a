"""Limits of users, and what they have uploaded on one day, in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping

from cloud_executor.backends.job_records import decode_string, encode_string
from cloud_executor.backends.sqlite.database import SqliteDatabase
from cloud_executor.model.access.quota import Limits


class SqliteQuotaStore:
    """A QuotaStore in the embedded database."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    def limit_changes(self, user: str) -> Mapping[str, int | None]:
        return self._database.read(lambda connection: _changes(connection, user))

    def change_limits(self, user: str, changes: Mapping[str, int | None], removed: Collection[str]) -> None:
        owner = encode_string(user)

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "DELETE FROM limits WHERE user = ? AND name = ?", [(owner, encode_string(name)) for name in removed]
            )
            connection.executemany(
                "INSERT OR REPLACE INTO limits (user, name, value) VALUES (?, ?, ?)",
                [(owner, encode_string(name), value) for name, value in changes.items()],
            )

        self._database.write(work)

    def count_upload(self, user: str, day: str, size: int) -> None:
        statement = """
            INSERT INTO uploads (user, day, bytes) VALUES (?, ?, ?) ON CONFLICT (user) DO UPDATE SET
            bytes = CASE WHEN day = excluded.day THEN bytes ELSE 0 END + excluded.bytes, day = excluded.day
        """
        # A power failure that undoes the count only lets the user upload more on this day.
        self._database.execute(statement, (encode_string(user), encode_string(day), size), durable=False)

    def uploaded(self, user: str, day: str) -> int:
        values = (encode_string(user), encode_string(day))
        rows = self._database.rows("SELECT bytes FROM uploads WHERE user = ? AND day = ?", values)
        return int(rows[0][0]) if rows else 0


def limits_of(connection: sqlite3.Connection, user: str, defaults: Limits) -> Limits:
    """The limits of a user, within a transaction."""
    return defaults.changed(_changes(connection, user))


def _changes(connection: sqlite3.Connection, user: str) -> Mapping[str, int | None]:
    rows = connection.execute("SELECT name, value FROM limits WHERE user = ?", (encode_string(user),)).fetchall()
    return {decode_string(name): value for name, value in rows}
