"""The waiting line of each user and pool in Firestore: the jobs in the queue, and those that wait for a place there.

    unpublished    key of the user and pool, and the job's position: a job that waits for a place
    window         key of the user and pool: a job in the queue
    queued         key of the pool, and the job's position: a job in the queue

Each query is for one range of one field, which Firestore indexes by itself. Keys are hashes of one length.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from google.cloud.firestore_v1.base_query import FieldFilter

from cloud_executor.backends.google.firestore.calls import RETRIED
from cloud_executor.backends.google.firestore.documents import KEY_BYTES, line_key, list_position, pool_key
from cloud_executor.model.jobs.fair_share import free_places, is_held
from cloud_executor.model.jobs.job import Job
from cloud_executor.parallel import parallel_map

MOST_PLACES = 2
"""Number of jobs that are read before it is known how many have a place: a change of the window frees one place."""

_END = b"\xff"
"""Follows every position in a range: positions are UTF-8."""


class WaitingLines:
    """The queries of the waiting lines."""

    def __init__(self, jobs: Any) -> None:  # noqa: ANN401 - the library's types are incomplete
        """`jobs` is the collection."""
        self._jobs = jobs

    def first_of_each(self, limit: int) -> list[Any]:
        """The documents of the oldest job that waits for a place, of up to `limit` users and pools."""
        found = self._first_of_each(b"", limit)
        # Further lines get their turn as well.
        return found if len(found) < limit else self._first_of_each(secrets.token_bytes(KEY_BYTES), limit) or found

    def next_to_publish(self, user_id: str, pool: str, window: int) -> list[Any]:
        """The documents of the user's oldest jobs that wait for a place, as many as there are places."""
        line = line_key(user_id, pool)
        held = self._held(line)
        reads: list[Callable[[], Any]] = [
            lambda: self._count(self._queued(line), window),
            lambda: held.limit(MOST_PLACES).get(**RETRIED),
        ]
        queued, found = parallel_map(lambda read: read(), reads, len(reads))
        places = free_places(queued, window)
        if len(found) == MOST_PLACES < places:
            found = held.limit(places).get(**RETRIED)
        return list(found[:places])

    def queued(self, user_id: str, pool: str, limit: int) -> list[Any]:
        """The documents of jobs of the user in the pool's queue."""
        return list(self._queued(line_key(user_id, pool)).limit(limit).get(**RETRIED))

    def ahead(self, job: Job, limit: int) -> int:
        """The number of jobs that are likely to start before this one, up to `limit`."""
        pool, position = pool_key(str(job.pool)), list_position(job)
        if not is_held(job):
            return self._count(self._range("queued", pool, pool + position), limit)
        queued = self._count(self._range("queued", pool, pool + _END), limit)
        line = line_key(job.user_id, str(job.pool))
        return min(limit, queued + self._count(self._range("unpublished", line, line + position), limit))

    def _first_of_each(self, start: bytes | str, limit: int) -> list[Any]:
        found: list[Any] = []
        lines = self._jobs.order_by("unpublished").limit(1)
        page = lines.start_at({"unpublished": start}) if start else lines
        while len(found) < limit and (documents := page.get(**RETRIED)):
            found += documents
            value = documents[0].get("unpublished")
            # Earlier versions stored the creation time, a string, which sorts before all bytes.
            after = value + "\0" if isinstance(value, str) else value[:KEY_BYTES] + _END
            page = lines.start_at({"unpublished": after})
        return found

    def _queued(self, line: bytes) -> Any:  # noqa: ANN401 - as above
        return self._jobs.where(filter=FieldFilter("window", "==", line))

    def _held(self, line: bytes) -> Any:  # noqa: ANN401 - as above
        return self._range("unpublished", line, line + _END)

    def _range(self, field: str, start: bytes, end: bytes) -> Any:  # noqa: ANN401 - as above
        """The documents with start <= field < end, in this order."""
        found = self._jobs.where(filter=FieldFilter(field, ">=", start)).where(filter=FieldFilter(field, "<", end))
        return found.order_by(field)

    def _count(self, query: Any, limit: int) -> int:  # noqa: ANN401 - as above
        ((count,),) = query.limit(limit).count().get(**RETRIED)
        return int(count.value)
