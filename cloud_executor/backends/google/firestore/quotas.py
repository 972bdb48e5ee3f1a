"""Limits of users, and what they have uploaded on one day, in Firestore: the documents `limits/{user}` and counters."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from datetime import date, timedelta
from typing import Any

from google.cloud import firestore

from cloud_executor.backends.google.errors import with_google_errors
from cloud_executor.backends.google.firestore.calls import RETRIED
from cloud_executor.backends.google.firestore.database import open_database
from cloud_executor.backends.google.firestore.documents import document_key
from cloud_executor.backends.google.firestore.grants import COUNTERS

OLD_DAYS = range(2, 9)
"""Ages of the counts that an upload deletes, in days. A clock may be wrong by a day."""


class FirestoreQuotaStore:
    """A QuotaStore in a Cloud Firestore database (native mode)."""

    def __init__(self, project: str | None, database: str) -> None:
        self._client = open_database(project, database)

    @with_google_errors
    def limit_changes(self, user: str) -> Mapping[str, int | None]:
        snapshot = self._limits(user).get(**RETRIED)
        return dict(snapshot.to_dict() or {})

    @with_google_errors
    def change_limits(self, user: str, changes: Mapping[str, int | None], removed: Collection[str]) -> None:
        fields = {**dict.fromkeys(map(str, removed), firestore.DELETE_FIELD), **{str(k): v for k, v in changes.items()}}
        if fields:
            self._limits(user).set(fields, merge=True, **RETRIED)

    @with_google_errors
    def count_upload(self, user: str, day: str, size: int) -> None:
        old = [(date.fromisoformat(day) - timedelta(days=age)).isoformat() for age in OLD_DAYS]
        days = {**dict.fromkeys(old, firestore.DELETE_FIELD), day: firestore.Increment(size)}
        # A repeated call, after a lost response, counts the upload twice.
        self._counter(user, secrets.randbelow(COUNTERS)).set({"days": days}, merge=True, **RETRIED)

    @with_google_errors
    def uploaded(self, user: str, day: str) -> int:
        counters = [self._counter(user, number) for number in range(COUNTERS)]
        found = self._client.get().get_all(counters, **RETRIED)
        return sum((snapshot.to_dict() or {}).get("days", {}).get(day, 0) for snapshot in found)

    def _limits(self, user: str) -> Any:  # noqa: ANN401 - the library's types are incomplete
        return self._client.get().collection("limits").document(document_key(user))

    def _counter(self, user: str, number: int) -> Any:  # noqa: ANN401 - as above
        return self._client.get().collection("uploads").document(f"{document_key(user)}:{number}")
