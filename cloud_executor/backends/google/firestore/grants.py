"""Which users have which contents, in Firestore: the documents `grants/{content}:{user}`, and counters of bytes."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from google.api_core import exceptions
from google.cloud import firestore
from google.cloud.firestore_v1.base_query import FieldFilter

from cloud_executor.backends.google.errors import with_google_errors
from cloud_executor.backends.google.firestore.calls import RETRIED
from cloud_executor.backends.google.firestore.database import open_database
from cloud_executor.backends.google.firestore.documents import document_key
from cloud_executor.parallel import parallel_map

RECORDS_PER_CALL = 200
"""Number of records that are read or written in one call."""

CONCURRENT_CALLS = 8
"""Number of concurrent calls that look up many records."""

COUNTERS = 8
"""Number of counters of a user's bytes: Firestore sustains about one change of a document per second."""


class FirestoreGrantStore:
    """A GrantStore in a Cloud Firestore database (native mode)."""

    def __init__(self, project: str | None, database: str) -> None:
        self._client = open_database(project, database)

    @with_google_errors
    def grant(self, user: str, sizes: Mapping[str, int]) -> None:
        for contents in _groups(sizes):
            # The records are created with their sum or not at all, so a lost response or a race counts nothing twice:
            # the next round finds the records.
            while new := [content for content in contents if content not in self._granted(user, contents)]:
                batch = self._client.get().batch()
                for content in new:
                    fields = {"content": content, "user": document_key(user), "size": sizes[content]}
                    batch.create(self._record(user, content), fields)
                self._count(batch, document_key(user), sum(sizes[content] for content in new))
                try:
                    batch.commit(**RETRIED)
                except exceptions.AlreadyExists:
                    continue
                break

    @with_google_errors
    def granted(self, user: str, content_hashes: Collection[str]) -> frozenset[str]:
        found = parallel_map(
            lambda contents: self._granted(user, contents), list(_groups(content_hashes)), CONCURRENT_CALLS
        )
        return frozenset().union(*found)

    @with_google_errors
    def bytes_of(self, user: str) -> int:
        counters = [self._counter(document_key(user), number) for number in range(COUNTERS)]
        found = self._client.get().get_all(counters, **RETRIED)
        return sum(snapshot.get("bytes") for snapshot in found if snapshot.exists)

    @with_google_errors
    def forget(self, content_hash: str) -> None:
        wanted = FieldFilter("content", "==", content_hash)
        while found := self._records.where(filter=wanted).limit(RECORDS_PER_CALL).get(**RETRIED):
            for snapshot in found:
                batch = self._client.get().batch()
                unchanged = self._client.get().write_option(last_update_time=snapshot.update_time)
                batch.delete(snapshot.reference, unchanged)
                self._count(batch, snapshot.get("user"), -snapshot.get("size"))
                try:
                    batch.commit(**RETRIED)
                except (exceptions.FailedPrecondition, exceptions.NotFound):
                    continue  # deleted by a call whose response was lost, or by another one

    def _granted(self, user: str, contents: Collection[str]) -> frozenset[str]:
        references = [self._record(user, content) for content in contents]
        found = self._client.get().get_all(references, field_paths=["content"], **RETRIED)
        return frozenset(snapshot.get("content") for snapshot in found if snapshot.exists)

    def _count(self, batch: Any, user_key: str, size: int) -> None:  # noqa: ANN401 - the library's types are incomplete
        counter = self._counter(user_key, secrets.randbelow(COUNTERS))
        batch.set(counter, {"bytes": firestore.Increment(size)}, merge=True)

    @property
    def _records(self) -> Any:  # noqa: ANN401 - as above
        return self._client.get().collection("grants")

    def _record(self, user: str, content: str) -> Any:  # noqa: ANN401 - as above
        return self._records.document(f"{document_key(content)}:{document_key(user)}")

    def _counter(self, user_key: str, number: int) -> Any:  # noqa: ANN401 - as above
        return self._client.get().collection("grantedBytes").document(f"{user_key}:{number}")


def _groups(contents: Collection[str]) -> Iterator[Sequence[str]]:
    remaining = iter(contents)
    while group := list(islice(remaining, RECORDS_PER_CALL)):
        yield group
