"""The client for a Cloud Firestore database (native mode)."""

from __future__ import annotations

from google.cloud import firestore

from cloud_executor.backends.google.errors import with_google_errors
from cloud_executor.backends.lazy import Lazy


def open_database(project: str | None, database: str) -> Lazy[firestore.Client]:
    """The client, which is created when it is first used."""

    @with_google_errors
    def connect() -> firestore.Client:
        return firestore.Client(project=project, database=database)

    return Lazy(connect)
