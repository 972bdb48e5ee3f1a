"""Calls to Firestore and Pub/Sub that each use case of jobs makes, counted at the edge of the client libraries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from emulators.projects import new_project
from google.cloud.firestore_v1.services.firestore import FirestoreClient
from google.pubsub_v1 import PublisherClient

from cloud_executor.backends.google.firestore.jobs import FirestoreJobStore
from cloud_executor.backends.google.pubsub import PubSubJobQueue
from cloud_executor.composition import Jobs
from cloud_executor.model.jobs.fair_share import DEFAULT_WINDOW
from cloud_executor.model.jobs.job import Outcome, OutputSegment, Status
from cloud_executor.model.jobs.pool import WorkerPool

WINDOW = {"run_aggregation_query": 1, "run_query": 1}
"""Calls that look for the next jobs of a user."""


@pytest.fixture
def jobs(firestore: str, pubsub: str) -> Jobs:
    project = new_project()
    queue = PubSubJobQueue(project, "executor", timedelta(hours=1))
    queue.create(["default"], max_deliveries=20)
    return Jobs(
        store=FirestoreJobStore(project, "(default)"), queue=queue, pools=[WorkerPool("default", frozenset({"gpu"}))]
    )


@pytest.fixture
def calls(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    made: Counter[str] = Counter()

    def counted(owner: type, method: str) -> None:
        actual: Callable[..., Any] = getattr(owner, method)

        def call(*arguments: Any, **named: Any) -> Any:
            made[method] += 1
            return actual(*arguments, **named)

        monkeypatch.setattr(owner, method, call)

    for method in ("batch_get_documents", "run_query", "run_aggregation_query", "commit"):
        counted(FirestoreClient, method)
    counted(PublisherClient, "publish")
    yield made


def test_create_is_a_transaction_a_look_at_the_window_a_publish_and_a_write(jobs: Jobs, calls: Counter[str]) -> None:
    jobs.clients.create("job")
    # The transaction is a read and a commit that fails if the document has changed since; the write is `publishedAt`.
    # The window is a count and a query, made at once.
    assert calls == {"batch_get_documents": 1, "commit": 2, "publish": 1, **WINDOW}


def test_the_calls_of_a_job_do_not_grow_with_the_jobs_that_wait(jobs: Jobs, calls: Counter[str]) -> None:
    for number in range(DEFAULT_WINDOW):
        jobs.clients.create(f"{number:02}")
    for name in ("next", "last"):
        calls.clear()
        jobs.clients.create(name)
        assert calls == {"batch_get_documents": 1, "commit": 1, **WINDOW}
    job = jobs.attempts.claim("00", "worker")
    calls.clear()
    jobs.attempts.publisher.follow(job)
    assert calls == {"publish": 1, "commit": 1, **WINDOW}
    assert jobs.clients.get("next").published_at is not None
    assert jobs.clients.get("last").published_at is None


def test_a_claim_with_nothing_to_publish_is_followed_by_a_look_at_the_window(jobs: Jobs, calls: Counter[str]) -> None:
    jobs.clients.create("job")
    job = jobs.attempts.claim("job", "worker")
    calls.clear()
    jobs.attempts.publisher.follow(job)
    assert calls == WINDOW


def test_creating_an_existing_job_is_one_read(jobs: Jobs, calls: Counter[str]) -> None:
    jobs.clients.create("job")
    calls.clear()
    jobs.clients.create("job")
    assert calls == {"batch_get_documents": 1}


def test_creating_a_job_for_external_workers_publishes_nothing(jobs: Jobs, calls: Counter[str]) -> None:
    jobs.clients.create("job", ("a label that no pool has",))
    assert calls == {"batch_get_documents": 1, "commit": 1}


def test_info_is_one_read(jobs: Jobs, calls: Counter[str]) -> None:
    jobs.clients.create("job")
    calls.clear()
    jobs.clients.get("job")
    assert calls == {"batch_get_documents": 1}


def test_a_poll_of_output_is_one_query(jobs: Jobs, calls: Counter[str]) -> None:
    jobs.clients.create("job")
    jobs.attempts.put_output(OutputSegment("job", 0, "line"), jobs.attempts.claim("job", "w").attempt)
    calls.clear()
    assert len(list(jobs.clients.output("job"))) == 1
    assert calls == {"run_query": 1}


def test_a_first_poll_without_output_also_reads_the_job(jobs: Jobs, calls: Counter[str]) -> None:
    jobs.clients.create("job")
    calls.clear()
    assert list(jobs.clients.output("job")) == []
    assert calls == {"run_query": 1, "batch_get_documents": 1}
    calls.clear()
    assert list(jobs.clients.output("job")) == []
    assert calls == {"run_query": 1}


def test_claim_start_and_finish_are_three_transactions(jobs: Jobs, calls: Counter[str]) -> None:
    jobs.clients.create("job")
    calls.clear()
    job = jobs.attempts.claim("job", "worker")
    jobs.attempts.start("job", job.attempt)
    jobs.attempts.finish("job", job.attempt, Outcome(Status.SUCCESS))
    assert calls == {"batch_get_documents": 3, "commit": 3}


def test_a_sweep_with_nothing_to_do_is_five_queries(jobs: Jobs, calls: Counter[str]) -> None:
    sweep = jobs.sweep
    sweep.run()  # the first one also looks for jobs of removed pools
    calls.clear()
    sweep.run()
    assert calls == {"run_query": 5}
