"""A FirestoreJobStore's indexes and documents, and its behavior when the service fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from emulators.projects import new_project
from google.api_core import exceptions
from google.cloud.firestore import Client
from google.cloud.firestore_v1.services.firestore import FirestoreClient
from google.cloud.firestore_v1.types import StructuredQuery

from cloud_executor.backends.google.firestore import jobs as backend
from cloud_executor.backends.google.firestore.documents import piece_id
from cloud_executor.backends.google.firestore.grants import FirestoreGrantStore
from cloud_executor.backends.google.firestore.jobs import FirestoreJobStore
from cloud_executor.errors import Invalid, QuotaExceeded, TooLarge, Unavailable
from cloud_executor.model.jobs.job import Job, OutputSegment
from cloud_executor.model.jobs.job_filter import EVERY_JOB, JobFilter
from cloud_executor.model.jobs.worker import WorkerRecord

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
DECLARED = json.loads(Path(backend.__file__).with_name("indexes.json").read_text())


@pytest.fixture
def project() -> str:
    return new_project()


@pytest.fixture
def store(firestore: str, project: str) -> FirestoreJobStore:
    return FirestoreJobStore(project, "(default)")


@pytest.fixture
def database(firestore: str, project: str) -> Any:
    return Client(project=project)


def new_job(job_hash: str, **fields: object) -> Job:
    return msgspec.structs.replace(
        Job(hash=job_hash, create_time="2026-01-31T12:00:00.000Z", secret="hush", pool="p"), **fields
    )


def insert(store: FirestoreJobStore, *hashes: str) -> None:
    for job in map(new_job, hashes):
        store.transact(job.hash, partial(_replaced_by, job))


def _replaced_by(job: Job, stored: Job | None) -> Job:
    return job


def put(store: FirestoreJobStore, number: int, output: str) -> None:
    store.put_output(OutputSegment("a", number, output), lambda _: None)


# Indexes --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[StructuredQuery]:
    """All queries sent during the test."""
    sent: list[StructuredQuery] = []
    actual = FirestoreClient.run_query

    def run_query(self: FirestoreClient, request: Any, **named: Any) -> Any:
        sent.append(request["structured_query"])
        return actual(self, request=request, **named)

    monkeypatch.setattr(FirestoreClient, "run_query", run_query)
    return sent


def every_page(store: FirestoreJobStore, **filters: str) -> None:
    after = store.query(limit=1, **filters).next
    assert after is not None
    store.query(after=after, **filters)


def searched(store: FirestoreJobStore, wanted: JobFilter, newest_first: bool) -> None:
    after = store.search(EVERY_JOB, limit=1).next
    store.search(wanted, newest_first=newest_first, after=after)


def filters_of(query: StructuredQuery) -> Iterator[StructuredQuery.FieldFilter]:
    if "composite_filter" in query.where:
        yield from (found.field_filter for found in query.where.composite_filter.filters)
    elif "field_filter" in query.where:
        yield query.where.field_filter


@pytest.mark.parametrize(
    "use",
    [
        lambda store: every_page(store),
        lambda store: every_page(store, status="CREATED"),
        lambda store: every_page(store, user_id="guest"),
        lambda store: every_page(store, status="CREATED", user_id="guest"),
        *(
            partial(searched, wanted=wanted, newest_first=newest_first)
            for newest_first in (False, True)
            for wanted in (
                EVERY_JOB,
                JobFilter(created_from="2026", created_before="2027"),
                JobFilter(statuses=("CREATED",), created_from="2026"),
                JobFilter(statuses=("CREATED", "RUNNING")),
                JobFilter(label="gpu"),
                JobFilter(label="gpu", worker="w", created_before="2027"),
                JobFilter(worker="w", statuses=("RUNNING",)),
                JobFilter(name_prefix="sweep", statuses=("CREATED",)),
                JobFilter(tag="t", statuses=("CREATED", "RUNNING")),
                JobFilter(user_id="guest", created_from="2026"),
                JobFilter(user_id="guest", statuses=("CREATED", "RUNNING")),
                JobFilter(user_id="guest", label="gpu"),
            )
        ),
        lambda store: store.with_expired_lease(NOW, 5),
        lambda store: store.unpublished(NOW, 5),
        lambda store: store.next_to_publish("guest", "p", 5),
        lambda store: store.with_lost_message(NOW, 5),
        lambda store: store.with_expired_output(NOW, 5),
        lambda store: list(store.output("a")),
        lambda store: list(store.output("a", 3, 9)),
        lambda store: store.clear_output("a"),
        lambda store: list(store.workers()),
    ],
)
def test_every_query_has_its_index(
    store: FirestoreJobStore, queries: list[StructuredQuery], use: Callable[[FirestoreJobStore], object]
) -> None:
    insert(store, "a", "b")
    put(store, 4, "text")
    store.put_worker(WorkerRecord("w", NOW))
    use(store)
    assert queries
    for query in queries:
        (collection,) = query.from_
        equal = {found.field.field_path for found in filters_of(query) if found.op.name in ("EQUAL", "IN")}
        contained = {found.field.field_path for found in filters_of(query) if found.op.name == "ARRAY_CONTAINS"}
        equal |= contained
        ordered = [order.field.field_path for order in query.order_by]
        directions = [order.direction.name for order in query.order_by]
        # A range filter uses the index of its order.
        assert {found.field.field_path for found in filters_of(query)} <= equal | set(ordered)
        fields = [*sorted(equal), *(name for name in ordered if name != "__name__")]
        if len(fields) > 1:
            assert [collection.collection_id, set(fields[:-1]), contained, fields[-1], directions] in [
                [
                    index["collectionGroup"],
                    {field["fieldPath"] for field in index["fields"][:-1]},
                    {field["fieldPath"] for field in index["fields"] if "arrayConfig" in field},
                    index["fields"][-1]["fieldPath"],
                    [index["fields"][-1]["order"]],
                ]
                for index in DECLARED["indexes"]
            ]
        for name in fields if len(fields) == 1 else ():
            exempt = [(found["collectionGroup"], found["fieldPath"]) for found in DECLARED["fieldOverrides"]]
            assert (collection.collection_id, name) not in exempt


def test_every_field_exempt_from_indexing_is_a_stored_field(
    store: FirestoreJobStore, database: Any, project: str
) -> None:
    insert(store, "a")  # in a pool, which is a term
    FirestoreGrantStore(project, "(default)").grant("ada", {"0" * 40: 1})
    put(store, 4, "text")
    store.put_worker(WorkerRecord("w", NOW))
    job = database.document("jobs/a")
    stored = {
        "jobs": job.get().to_dict(),
        "output": next(job.collection("output").stream()).to_dict(),
        "workers": database.document("workers/w").get().to_dict(),
        "grants": next(database.collection("grants").stream()).to_dict(),
        "grantedBytes": next(database.collection("grantedBytes").stream()).to_dict(),
    }
    for override in DECLARED["fieldOverrides"]:
        assert override["fieldPath"] in stored[override["collectionGroup"]]


def test_a_job_that_an_earlier_version_did_not_publish_is_found(store: FirestoreJobStore, database: Any) -> None:
    insert(store, "a", "b", "c")
    for name in ("a", "b"):
        database.document(f"jobs/{name}").update({"unpublished": "2026-01-31T12:00:00.000Z"})
    assert [job.hash for job in store.next_to_publish("guest", "p", 9)] == ["c"]
    for _ in range(2):  # jobs that were created at the same time are found one by one
        store.unpublished(NOW, 9)
    assert [job.hash for job in store.next_to_publish("guest", "p", 9)] == ["a", "b", "c"]


def test_output_expires_unless_it_is_cleared(store: FirestoreJobStore, database: Any, project: str) -> None:
    put(store, 0, "text")
    FirestoreJobStore(project, "(default)", None).put_output(OutputSegment("b", 0, "text"), lambda _: None)
    (ttl,) = [found for found in DECLARED["fieldOverrides"] if found.get("ttl")]
    assert (ttl["collectionGroup"], ttl["fieldPath"]) == ("output", "expireAt")
    (segment,) = database.collection("jobs/a/output").stream()
    age = segment.get("expireAt") - segment.create_time
    assert abs(age - backend.OUTPUT_LIFETIME) < timedelta(minutes=1)
    (segment,) = database.collection("jobs/b/output").stream()
    assert "expireAt" not in segment.to_dict()


# Documents ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("job_hash", ["", ".", "..", "__x__", "a/b", "~", "é", "\ud83d", "x" * 2000, "~" + "0" * 64])
def test_a_hash_that_is_not_a_valid_document_id_gets_an_encoded_id(
    store: FirestoreJobStore, database: Any, job_hash: str
) -> None:
    insert(store, job_hash)
    (document,) = database.collection("jobs").stream()
    assert document.id.startswith("~")
    assert document.id != job_hash
    assert store.get(job_hash) == new_job(job_hash)


def test_a_jobs_hash_is_its_document_id(store: FirestoreJobStore, database: Any) -> None:
    insert(store, "0123456789abcdef")
    assert database.document("jobs/0123456789abcdef").get().exists


def test_a_shorter_segment_replaces_a_longer_one_completely(store: FirestoreJobStore, database: Any) -> None:
    put(store, 0, "x" * 1_000_001)
    put(store, 1, "next")
    assert len(list(database.collection("jobs/a/output").stream())) == 6
    put(store, 0, "y" * 250_001)
    assert [(segment.number, segment.output) for segment in store.output("a")] == [(0, "y" * 250_001), (1, "next")]
    store.clear_output("a")
    assert list(database.collection("jobs/a/output").stream()) == []


def test_remnants_of_a_cleared_segment_are_not_output(store: FirestoreJobStore, database: Any) -> None:
    put(store, 0, "x" * 1_000_000)
    put(store, 1, "next")
    for number in range(10, 40):
        put(store, number, "x" * 250_001)
        database.document(f"jobs/a/output/{piece_id(number, 0)}").delete()
    put(store, 50, "last")
    database.document(f"jobs/a/output/{piece_id(0, 0)}").delete()
    assert [segment.number for segment in store.output("a")] == [1, 50]


def test_clear_output_keeps_segments_that_are_newer_than_the_job_it_saw(store: FirestoreJobStore) -> None:
    """A job is created again, and writes, while a sweep clears the output of its last run."""
    insert(store, "a")
    put(store, 0, "old")
    calls: list[Job | None] = []

    def change(job: Job | None) -> Job:
        calls.append(job)
        if len(calls) == 1:
            put(store, 1, "new")
        return new_job("a", secret="cleared")

    assert store.clear_output("a", change)
    assert list(store.output("a")) == [OutputSegment("a", 1, "new")]
    assert store.get("a") == new_job("a", secret="cleared")


def test_long_segments_at_page_boundaries_are_complete(store: FirestoreJobStore) -> None:
    outputs = [letter * 1_250_001 for letter in "abcdefg"]
    for number, output in enumerate(outputs):
        put(store, number, output)
    assert [segment.output for segment in store.output("a")] == outputs


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**400])
def test_a_number_outside_the_range_of_a_field_is_invalid(store: FirestoreJobStore, number: int) -> None:
    with pytest.raises(Invalid):
        put(store, number, "")


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63)])
def test_the_largest_and_smallest_numbers_can_be_stored(store: FirestoreJobStore, number: int) -> None:
    put(store, number, "text")
    assert list(store.output("a")) == [OutputSegment("a", number, "text")]


def test_data_that_exceeds_a_document_is_too_large(store: FirestoreJobStore) -> None:
    with pytest.raises(TooLarge):
        put(store, 0, "é" * 1_500_001)
    with pytest.raises(TooLarge):
        store.transact("a", lambda _: new_job("a", error="x" * 1_000_000))
    with pytest.raises(TooLarge):
        store.put_worker(WorkerRecord("w", datetime.now(UTC), labels=("x" * 1_000_000,)))
    assert list(store.output("a")) == []


def test_a_forged_page_cursor_is_invalid(store: FirestoreJobStore) -> None:
    with pytest.raises(Invalid):
        store.query(after="cGFnZQB4" * 400)


# Failures -------------------------------------------------------------------------------------------------------------


def failing(monkeypatch: pytest.MonkeyPatch, method: str, error: Exception, *, done: bool = False) -> list[str]:
    """Make the first call of a method fail, after taking effect if `done`; return a list that grows with each call."""
    calls: list[str] = []
    actual = getattr(FirestoreClient, method)

    def call(self: FirestoreClient, *arguments: Any, **named: Any) -> Any:
        calls.append(method)
        if len(calls) == 1 and not done:
            raise error
        result = actual(self, *arguments, **named)
        if len(calls) == 1:
            raise error
        return result

    monkeypatch.setattr(FirestoreClient, method, call)
    return calls


def count_up(job: Job | None) -> Job:
    assert job is not None
    return msgspec.structs.replace(job, lost_attempts=job.lost_attempts + 1)


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize(
    "error", [exceptions.ServiceUnavailable("gone"), exceptions.DeadlineExceeded("late"), exceptions.Aborted("lock")]
)
def test_a_change_whose_response_is_lost_is_made_once(
    store: FirestoreJobStore, monkeypatch: pytest.MonkeyPatch, error: Exception, done: bool
) -> None:
    insert(store, "a")
    failing(monkeypatch, "commit", error, done=done)
    changed = store.transact("a", count_up)
    assert changed == store.get("a") == new_job("a", lost_attempts=1)


def test_a_lost_response_is_recognized_after_other_changes(
    store: FirestoreJobStore, monkeypatch: pytest.MonkeyPatch, project: str
) -> None:
    insert(store, "a")
    other = FirestoreJobStore(project, "(default)")
    actual = FirestoreClient.commit
    calls: list[str] = []

    def commit(self: FirestoreClient, *arguments: Any, **named: Any) -> Any:
        calls.append("commit")
        result = actual(self, *arguments, **named)
        if len(calls) == 1:
            for _ in range(3):
                other.transact("a", count_up)
            raise exceptions.ServiceUnavailable("gone")
        return result

    monkeypatch.setattr(FirestoreClient, "commit", commit)
    assert store.transact("a", count_up) == new_job("a", lost_attempts=1)
    assert store.get("a") == new_job("a", lost_attempts=4)


def test_a_create_whose_response_is_lost_is_made_once(
    store: FirestoreJobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "commit", exceptions.ServiceUnavailable("gone"), done=True)

    def create(stored: Job | None) -> Job | None:
        return new_job("a", secret="mine") if stored is None else None

    assert store.transact("a", create) == new_job("a", secret="mine")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (exceptions.ResourceExhausted("quota"), QuotaExceeded),
        (exceptions.PermissionDenied("no"), Unavailable),
        (exceptions.Unauthenticated("who"), Unavailable),
        (exceptions.InvalidArgument("what"), Unavailable),
    ],
)
def test_service_errors_become_errors_of_the_port(
    store: FirestoreJobStore, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception]
) -> None:
    insert(store, "a")
    for method, use in {
        "commit": lambda: store.transact("a", count_up),
        "batch_get_documents": lambda: store.get("a"),
        "run_query": lambda: store.query(),
    }.items():
        with monkeypatch.context() as patched:
            calls = failing(patched, method, error)
            with pytest.raises(kind) as raised:
                use()
            assert type(raised.value) is kind
            assert len(calls) == 1
    assert store.get("a") == new_job("a")


def test_persistent_contention_makes_a_transaction_fail_as_unavailable(
    store: FirestoreJobStore, monkeypatch: pytest.MonkeyPatch, project: str
) -> None:
    insert(store, "a")
    monkeypatch.setattr(backend, "TRANSACT_SECONDS", 0.3)
    other = FirestoreJobStore(project, "(default)")

    def overtaken(job: Job | None) -> Job:
        other.transact("a", count_up)
        return count_up(job)

    with pytest.raises(Unavailable):
        store.transact("a", overtaken)


def test_the_time_is_the_databases(store: FirestoreJobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_executor.backends.google.firestore.jobs.system_clock", None)
    reads = failing(monkeypatch, "batch_get_documents", exceptions.Aborted("unused"), done=True)
    reads.append("the first call, which fails")
    first = store.now()
    assert abs(first - datetime.now(UTC)) < timedelta(seconds=5), "the emulator has the clock of this machine"
    count = len(reads)
    assert first <= store.now() < first + timedelta(seconds=5)
    assert len(reads) == count
