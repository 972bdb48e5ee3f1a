"""Records in Firestore other than jobs:

workers/{key of the client id}
usage/blobs                        how much the object store holds
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from google.api_core import exceptions
from google.cloud import firestore

from cloud_executor.backends.google.errors import google_errors, with_google_errors
from cloud_executor.backends.google.firestore.calls import LOST_RACE, RETRIED
from cloud_executor.backends.google.firestore.documents import decoded, document_key, worker_fields
from cloud_executor.backends.job_records import USAGE, WORKER, encode_record
from cloud_executor.backends.lazy import Lazy
from cloud_executor.model.blobs.usage import StorageUsage
from cloud_executor.model.jobs.worker import WorkerRecord

WORKERS_PER_READ = 300

USAGE_DOCUMENT = "usage/blobs"


class FirestoreRecords:
    """The part of a JobStore that keeps other records than jobs."""

    _client: Lazy[firestore.Client]

    @with_google_errors
    def put_worker(self, worker: WorkerRecord) -> None:
        self._worker(worker.client_id).set(worker_fields(worker), **RETRIED)

    def workers(self) -> Iterator[WorkerRecord]:
        query = self._client.get().collection("workers").order_by("order").limit(WORKERS_PER_READ)
        page: Any = query
        while True:
            with google_errors():
                found = list(page.get(**RETRIED))
            if not found:
                return
            for snapshot in found:
                yield decoded(WORKER, snapshot)
            page = query.start_after({"order": found[-1].get("order")})

    @with_google_errors
    def delete_worker(self, client_id: str, seen_before: datetime) -> bool:
        reference = self._worker(client_id)
        snapshot = reference.get(**RETRIED)
        if not snapshot.exists or decoded(WORKER, snapshot).last_seen >= seen_before:
            return False
        unless_seen = self._client.get().write_option(last_update_time=snapshot.update_time)
        try:
            reference.delete(option=unless_seen, **RETRIED)
        except (*LOST_RACE, exceptions.NotFound):
            return False
        return True

    @with_google_errors
    def record_usage(self, usage: StorageUsage) -> None:
        self._client.get().document(USAGE_DOCUMENT).set({"body": encode_record(usage).decode()}, **RETRIED)

    @with_google_errors
    def usage(self) -> StorageUsage | None:
        snapshot = self._client.get().document(USAGE_DOCUMENT).get(**RETRIED)
        return decoded(USAGE, snapshot) if snapshot.exists else None

    def _worker(self, client_id: str) -> Any:  # noqa: ANN401 - the library's types are incomplete
        return self._client.get().collection("workers").document(document_key(client_id))
