"""A database that records the plans of its queries."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cloud_executor.backends.sqlite.database import SqliteDatabase, Value


class ExplainedConnection:
    def __init__(self, connection: sqlite3.Connection, plans: list[list[str]]) -> None:
        self._connection = connection
        self._plans = plans

    def execute(self, query: str, values: Sequence[Value] = ()) -> sqlite3.Cursor:
        plan = self._connection.execute(f"EXPLAIN QUERY PLAN {query}", values)
        self._plans.append([detail for *_, detail in plan])
        return self._connection.execute(query, values)


class ExplainedDatabase(SqliteDatabase):
    """A database that records the plan of each query."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.plans: list[list[str]] = []

    def read(self, work: Callable[[Any], Any]) -> Any:
        return super().read(lambda connection: work(ExplainedConnection(connection, self.plans)))
