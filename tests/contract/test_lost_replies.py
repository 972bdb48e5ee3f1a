"""A service carries out a call, but its response is lost: the caller repeats what it did, and it takes effect once.

Each scenario runs once for each of its calls to the store, which loses the response of that call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar

import pytest
from direct_store import DirectFileStore

from cloud_executor.blobs.direct_uploads import DirectUploads, UploadSession
from cloud_executor.blobs.keys import TEMPORARY_PREFIX, content_key
from cloud_executor.blobs.store import SMALL_CONTENT_BYTES, BlobStore
from cloud_executor.composition import Jobs
from cloud_executor.errors import Unavailable
from cloud_executor.jobs.external_workers import CheckIn
from cloud_executor.model.jobs.job import JobUpdate, Outcome, OutputSegment, StaleAttempt, Status
from cloud_executor.model.jobs.pool import WorkerPool
from cloud_executor.ports import JobStore, ObjectStore

T = TypeVar("T")
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Lossy:
    """A store or queue whose responses are lost at one call. The calls are numbered from 1."""

    def __init__(self, wrapped: Any) -> None:
        self.calls = 0
        self.lost = 0
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._wrapped, name)
        if not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            number = self.calls
            result = found(*arguments, **named)
            if number == self.lost:
                if hasattr(result, "close"):
                    result.close()
                raise Unavailable
            return result

        return call


def each_loss(store: Lossy) -> Iterator[int]:
    """Yield once for each call of the scenario in the loop's body, whose response is lost."""
    for lost in count(1):
        store.calls, store.lost = 0, lost
        yield lost
        if store.calls < lost:
            assert lost > 2, "the scenario makes no calls"
            return


def repeated(action: Callable[[], T]) -> T:
    """Do what a caller does whose request fails: repeat it."""
    try:
        return action()
    except Unavailable:
        return action()


class FakeQueue:
    """Records the messages."""

    def __init__(self) -> None:
        self.published: list[str] = []

    def publish(self, pool: str, job_hash: str) -> None:
        self.published.append(job_hash)


class Bench:
    """The use cases of jobs on a lossy store, with a clock that stands still."""

    def __init__(self, store: JobStore) -> None:
        self.store = Lossy(store)
        self.now = NOON
        self.queue = FakeQueue()
        lossy: Any = self.store
        queue: Any = self.queue
        self.jobs = Jobs(lossy, queue, [WorkerPool("pool", frozenset({"ours"}))], clock=lambda: self.now)


@pytest.fixture
def bench(job_store: JobStore) -> Bench:
    return Bench(job_store)


def test_a_job_of_our_workers(bench: Bench) -> None:
    clients, attempts = bench.jobs.clients, bench.jobs.attempts
    for lost in each_loss(bench.store):
        job = f"job-{lost}"
        repeated(lambda: clients.create(job, ("ours",)))  # noqa: B023 - called at once
        attempt = repeated(lambda: attempts.claim(job, "w", "pool", "token")).attempt  # noqa: B023 - called at once
        assert attempt == 1
        repeated(lambda: attempts.renew(job, attempt))  # noqa: B023 - called at once
        repeated(lambda: attempts.start(job, attempt, None))  # noqa: B023 - called at once
        for number in range(2):
            segment = OutputSegment(job, number, f"line {number}\n")
            repeated(lambda: attempts.put_output(segment, attempt))  # noqa: B023 - called at once
        with suppress(StaleAttempt):  # it has finished
            repeated(lambda: attempts.finish(job, attempt, Outcome(Status.SUCCESS)))  # noqa: B023 - called at once
        found = repeated(lambda: clients.get(job))  # noqa: B023 - called at once
        assert (found.status, found.attempt, found.lost_attempts) == (Status.SUCCESS, 1, 0), lost
        output = repeated(lambda: list(clients.output(job, None, None)))  # noqa: B023 - called at once
        assert [segment.output for segment in output] == ["line 0\n", "line 1\n"], lost
        assert job in bench.queue.published or found.published_at is None


@pytest.mark.parametrize("action", ["release", "abandon"])
def test_a_job_that_is_given_back(bench: Bench, action: str) -> None:
    clients, attempts = bench.jobs.clients, bench.jobs.attempts
    give_back: Callable[[str, int], None] = {
        "release": attempts.release,
        "abandon": lambda job, attempt: attempts.abandon(job, attempt, "A reason."),
    }[action]
    for lost in each_loss(bench.store):
        job = f"job-{lost}"
        repeated(lambda: clients.create(job, ("ours",)))  # noqa: B023 - called at once
        attempt = repeated(lambda: attempts.claim(job, "w", "pool", "token")).attempt  # noqa: B023 - called at once
        with suppress(StaleAttempt):  # it has been given back
            repeated(lambda: give_back(job, attempt))  # noqa: B023 - called at once
        found = repeated(lambda: clients.get(job))  # noqa: B023 - called at once
        assert (found.status, found.lost_attempts) == (Status.CREATED, int(action == "abandon")), lost
        bench.now += timedelta(minutes=1)
        repeated(bench.jobs.sweep.run)
        assert job in bench.queue.published
        assert repeated(lambda: attempts.claim(job, "v", "pool", "other")).attempt == 2  # noqa: B023 - called at once
        with suppress(StaleAttempt):
            repeated(lambda: attempts.finish(job, 2, Outcome(Status.SUCCESS)))  # noqa: B023 - called at once


def test_a_job_of_a_vanished_worker(bench: Bench) -> None:
    clients, attempts = bench.jobs.clients, bench.jobs.attempts
    for lost in each_loss(bench.store):
        job = f"job-{lost}"
        repeated(lambda: clients.create(job, ("ours",)))  # noqa: B023 - called at once
        repeated(lambda: attempts.claim(job, "w", "pool", "token"))  # noqa: B023 - called at once
        bench.now += timedelta(minutes=1)
        repeated(bench.jobs.sweep.run)
        repeated(bench.jobs.sweep.run)
        found = repeated(lambda: clients.get(job))  # noqa: B023 - called at once
        assert (found.status, found.lost_attempts) == (Status.CREATED, 1), lost
        repeated(lambda: clients.force_cancel(job))  # noqa: B023 - called at once
        assert repeated(lambda: clients.get(job)).status == Status.CANCELED  # noqa: B023 - called at once


def test_a_job_of_an_external_worker(bench: Bench) -> None:
    clients, workers = bench.jobs.clients, bench.jobs.external_workers
    for lost in each_loss(bench.store):
        job, label = f"job-{lost}", f"label-{lost}"
        repeated(lambda: clients.create(job, (label,)))  # noqa: B023 - called at once
        poll = CheckIn("w", 1, (label,))
        orders = repeated(lambda: workers.check_in(poll))  # noqa: B023 - called at once
        if not orders.jobs_to_start:
            # The response that named the job was lost, so it waits again after a while.
            bench.now += timedelta(minutes=11)
            repeated(lambda: workers.check_in(CheckIn("w", 0, (label,))))  # noqa: B023 - called at once
            repeated(bench.jobs.sweep.run)
            orders = repeated(lambda: workers.check_in(poll))  # noqa: B023 - called at once
        assert orders.jobs_to_start == (job,), lost
        token = orders.tokens[job]
        repeated(lambda: workers.put_output(OutputSegment(job, 0, "x"), token))  # noqa: B023 - called at once
        report = JobUpdate(status="SUCCESS", worker="w", token=token)
        repeated(lambda: workers.update(job, report))  # noqa: B023 - called at once
        found = repeated(lambda: clients.get(job))  # noqa: B023 - called at once
        assert (found.status, found.output_number, found.lost_attempts) == (Status.SUCCESS, 0, 0), lost


@pytest.mark.parametrize("size", [10, SMALL_CONTENT_BYTES + 1], ids=["small", "large"])
def test_an_uploaded_file(object_store: ObjectStore, size: int) -> None:
    lossy: Any = Lossy(object_store)
    blobs = BlobStore(lossy, lambda: NOON)
    for lost in each_loss(lossy):
        content = b"%d" % lost + bytes(size)
        stored = repeated(lambda: blobs.create_file("file", [content]))  # noqa: B023 - called at once
        assert repeated(lambda: blobs.metadata(stored.hash)).metadata.size == len(content)  # noqa: B023 - called at once
        assert object_store.read(content_key(hashlib.sha1(content).hexdigest()))[0] == content, lost


def test_a_completed_direct_upload(tmp_path: Any) -> None:
    store = DirectFileStore(tmp_path)
    lossy: Any = Lossy(store)
    uploads = DirectUploads(BlobStore(lossy, lambda: NOON, lossy), lossy)
    for lost in each_loss(lossy):
        content = b"%d" % lost + bytes(1000)
        session = repeated(lambda: uploads.begin("file", len(content), None, None))  # noqa: B023 - called at once
        assert isinstance(session, UploadSession)
        store.send(session.url, content)
        stored = repeated(lambda: uploads.complete(session.id))  # noqa: B023 - called at once
        assert stored.metadata.size == len(content)
        assert store.read(content_key(hashlib.sha1(content).hexdigest()))[0] == content, lost
    assert all(info.key.endswith(".verified") for info in store.list(TEMPORARY_PREFIX))
