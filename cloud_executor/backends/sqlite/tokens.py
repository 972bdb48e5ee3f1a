"""Records of access tokens in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import msgspec

from cloud_executor.backends.job_records import encode_string
from cloud_executor.backends.sqlite.database import SqliteDatabase
from cloud_executor.errors import Conflict
from cloud_executor.model.access.token import TokenRecord

_DECODER = msgspec.json.Decoder(TokenRecord)


class SqliteTokenStore:
    """A TokenStore in the embedded database."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    def add(self, record: TokenRecord) -> None:
        row = (encode_string(record.id), msgspec.json.encode(record))
        try:
            self._database.execute("INSERT INTO tokens (id, body) VALUES (?, ?)", row)
        except sqlite3.IntegrityError as error:
            raise Conflict from error

    def get(self, token_id: str) -> TokenRecord | None:
        rows = self._database.rows("SELECT body FROM tokens WHERE id = ?", (encode_string(token_id),))
        return _DECODER.decode(rows[0][0]) if rows else None

    def tokens(self) -> Iterator[TokenRecord]:
        for (body,) in self._database.rows("SELECT body FROM tokens ORDER BY id"):
            yield _DECODER.decode(body)

    def delete(self, token_id: str) -> bool:
        return self._database.execute("DELETE FROM tokens WHERE id = ?", (encode_string(token_id),)) > 0
