from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cloud_executor.errors import Forbidden, Invalid
from cloud_executor.model import transitions
from cloud_executor.model.javascript import iso_time
from cloud_executor.model.job import (
    FINISHED,
    Durations,
    Job,
    JobUpdate,
    NotClaimable,
    Outcome,
    OutputRemains,
    StaleAttempt,
    Status,
)
from functions.executor.fields import labels as request_labels

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
LEASE = timedelta(seconds=30)
RETRIES = 2
KEEP = timedelta(seconds=60)
SECRET = "the secret"

replace = msgspec.structs.replace


def new_job(stored: Job | None = None, secret: str = SECRET, now: datetime = NOON) -> Job:
    job = transitions.create(
        stored, "j", user_id="guest", labels=(), pools=("default", "other"), secret=secret, now=now
    )
    assert job is not None
    return job


def claimed(job: Job, worker: str = "w", now: datetime = NOON, lease: timedelta | None = LEASE) -> Job:
    return transitions.claim(job, worker, now, lease, RETRIES)


def finished(job: Job, status: Status = Status.SUCCESS, attempt: int | None = None) -> Job:
    outcome = Outcome(status, NOON, NOON, {"all": "0" * 40})
    return transitions.finish(job, job.attempt if attempt is None else attempt, outcome, NOON, KEEP)


def updated(job: Job, **fields: object) -> Job | None:
    return transitions.update(job, msgspec.convert(fields, JobUpdate), NOON, KEEP)


CREATED = replace(new_job(), published_at=NOON)
RUNNING = claimed(CREATED)
EXTERNAL = claimed(CREATED, lease=None)
EXPIRED = NOON + LEASE
IN_STATUS = {
    status: CREATED if status == Status.CREATED else RUNNING if status == Status.RUNNING else finished(RUNNING, status)
    for status in Status
}

Step = Callable[[Job], Job | None]

STEPS: dict[str, Step] = {
    "create": lambda job: transitions.create(
        job, "j", user_id="guest", labels=(), pools=(), secret="another", now=NOON
    ),
    "claim": claimed,
    "take over": lambda job: claimed(job, "other", EXPIRED),
    "started": lambda job: transitions.start(job, job.attempt, NOON, None),
    "renew": lambda job: transitions.renew(job, job.attempt, NOON, LEASE),
    "hand over": lambda job: transitions.hand_over(job, job.attempt, None, NOON),
    "finish": finished,
    "release": lambda job: transitions.release(job, job.attempt, NOON),
    "cancel": lambda job: transitions.cancel(job, SECRET, NOON),
    "give up": lambda job: transitions.give_up(job, NOON),
    "report success": lambda job: updated(job, status="SUCCESS"),
    "report running": lambda job: updated(job, status="RUNNING"),
    "publish": lambda job: transitions.record_publish(job, NOON),
}

REFUSED = "refused"
SAME = "stays"

FOLLOWS: dict[str, dict[str, str]] = {
    # what happens:   CREATED, RUNNING, CANCELED, any other finished status
    "create": {"CREATED": SAME, "RUNNING": SAME, "CANCELED": "CREATED", "finished": SAME},
    "claim": {"CREATED": "RUNNING", "RUNNING": REFUSED, "CANCELED": REFUSED, "finished": REFUSED},
    "take over": {"CREATED": "RUNNING", "RUNNING": "RUNNING", "CANCELED": REFUSED, "finished": REFUSED},
    "started": {"CREATED": REFUSED, "RUNNING": "RUNNING", "CANCELED": REFUSED, "finished": REFUSED},
    "renew": {"CREATED": REFUSED, "RUNNING": "RUNNING", "CANCELED": REFUSED, "finished": REFUSED},
    "finish": {"CREATED": REFUSED, "RUNNING": "SUCCESS", "CANCELED": REFUSED, "finished": REFUSED},
    "release": {"CREATED": REFUSED, "RUNNING": "CREATED", "CANCELED": REFUSED, "finished": REFUSED},
    "hand over": {"CREATED": REFUSED, "RUNNING": "CREATED", "CANCELED": REFUSED, "finished": REFUSED},
    "cancel": {"CREATED": "CANCELED", "RUNNING": "RUNNING", "CANCELED": SAME, "finished": SAME},
    "give up": {"CREATED": "FAILED_TO_EXECUTE", "RUNNING": SAME, "CANCELED": SAME, "finished": SAME},
    "report success": {"CREATED": "SUCCESS", "RUNNING": "SUCCESS", "CANCELED": SAME, "finished": SAME},
    "report running": {"CREATED": "RUNNING", "RUNNING": "RUNNING", "CANCELED": SAME, "finished": SAME},
    "publish": {"CREATED": "CREATED", "RUNNING": SAME, "CANCELED": SAME, "finished": SAME},
}


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("step", STEPS)
def test_what_may_follow_what(step: str, status: Status) -> None:
    kind = status if status in ("CREATED", "RUNNING", "CANCELED") else "finished"
    expected = FOLLOWS[step][kind]
    if expected == REFUSED:
        with pytest.raises((NotClaimable, StaleAttempt)):
            STEPS[step](IN_STATUS[status])
        return
    job = STEPS[step](IN_STATUS[status])
    assert (SAME if job is None else job.status) == expected


def test_finished_are_all_statuses_but_two() -> None:
    assert {status for status in Status if replace(CREATED, status=status).finished} == FINISHED
    assert set(Status) - FINISHED == {Status.CREATED, Status.RUNNING}
    assert not replace(CREATED, status="FAILED").finished


def test_a_new_job_is_as_its_creator_says() -> None:
    job = transitions.create(None, "j", user_id="u", labels=("a",), pools=("p", "q"), secret="s", now=NOON)
    assert job == Job(
        hash="j",
        create_time="2026-01-31T12:00:00.000Z",
        secret="s",
        user_id="u",
        labels=("a",),
        pool="p",
        later_pools=("q",),
    )
    assert job.document() == {
        "hash": "j",
        "resultHashes": [],
        "resultSuperSet": None,
        "userId": ["u"],
        "status": "CREATED",
        "createTime": "2026-01-31T12:00:00.000Z",
        "startTime": None,
        "finishTime": None,
        "worker": None,
        "labels": ("a",),
        "outputNumber": None,
    }


def test_the_document_has_what_there_is_and_never_the_secret() -> None:
    job = replace(finished(RUNNING), cancel_requested=True, error="why", output_number=0)
    document = job.document()
    assert document["attempt"] == 1
    assert document.keys() & {"exitCode", "durations", "peakMemoryMiB"} == set()
    facts = replace(job, exit_code=0, durations=Durations(queued=1.5), peak_memory_mib=7).document()
    assert (facts["exitCode"], facts["durations"], facts["peakMemoryMiB"]) == (0, Durations(queued=1.5), 7)
    assert document["resultHashes"] == {"all": "0" * 40}
    assert (document["cancelRequested"], document["error"], document["outputNumber"]) == (True, "why", 0)
    assert SECRET not in str(document)
    assert replace(job, result_hashes={}).document()["resultHashes"] == {}


def test_a_job_keeps_the_trace_of_its_create_and_shows_it_to_nobody() -> None:
    def created(stored: Job | None, trace: str | None) -> Job:
        job = transitions.create(stored, "j", user_id="u", labels=(), pools=(), secret="s", now=NOON, trace=trace)
        assert job is not None
        return job

    job = created(None, "1" * 32)
    canceled = finished(claimed(transitions.lose(claimed(job), NOON, RETRIES)), Status.CANCELED)
    assert canceled.trace == "1" * 32
    assert "1" * 32 not in str(canceled.document())
    assert created(canceled, "2" * 32).trace == "2" * 32
    # So it is in the stores as it was before there were traces.
    assert b"trace" not in msgspec.json.encode(created(canceled, None))


def test_a_canceled_job_made_anew_has_nothing_of_the_old_one_but_the_count_of_attempts() -> None:
    old = replace(finished(RUNNING, Status.CANCELED), lost_attempts=1, error="why", published_at=NOON)
    anew = new_job(old, "new secret")
    assert anew == replace(new_job(secret="new secret"), attempt=old.attempt)
    with pytest.raises(StaleAttempt):
        finished(claimed(anew), attempt=old.attempt)


def test_a_canceled_job_is_made_anew_only_once_its_output_is_gone() -> None:
    old = replace(finished(RUNNING, Status.CANCELED), output_number=0)
    with pytest.raises(OutputRemains):
        new_job(old)
    assert new_job(transitions.drop_output(old)).output_number is None


def test_a_claim_is_an_attempt_under_a_lease() -> None:
    assert replace(CREATED, status="RUNNING", worker="w", attempt=1, lease_expires=NOON + LEASE) == RUNNING
    assert EXTERNAL.lease_expires is None
    assert EXTERNAL.attempt == 1


def test_a_live_lease_keeps_others_out() -> None:
    with pytest.raises(NotClaimable):
        claimed(RUNNING, "other", EXPIRED - timedelta(microseconds=1))
    with pytest.raises(NotClaimable):
        claimed(EXTERNAL, "other", NOON + timedelta(days=1000))


@pytest.mark.parametrize("job", [CREATED, RUNNING, replace(CREATED, pool=None)], ids=["waits", "lost", "external"])
def test_a_delivery_of_another_pool_claims_nothing(job: Job) -> None:
    with pytest.raises(NotClaimable):
        transitions.claim(job, "w", EXPIRED, LEASE, RETRIES, "other")


def test_a_delivery_of_its_pool_claims_a_job() -> None:
    assert transitions.claim(CREATED, "w", NOON, LEASE, RETRIES, "default") == RUNNING


def test_an_expired_lease_can_be_taken_over_and_the_old_attempt_is_not_heard() -> None:
    taken = claimed(replace(RUNNING, start_time="old start"), "other", EXPIRED)
    assert (taken.worker, taken.attempt, taken.lost_attempts, taken.start_time) == ("other", 2, 1, None)
    stale: list[Step] = [
        lambda job: finished(job, attempt=1),
        lambda job: transitions.release(job, 1, NOON),
        lambda job: transitions.hand_over(job, 1, None, NOON),
        lambda job: transitions.start(job, 1, NOON, None),
        lambda job: transitions.renew(job, 1, NOON, LEASE),
        lambda job: transitions.receive_output(job, 0, 1, NOON, KEEP),
    ]
    for step in stale:
        with pytest.raises(StaleAttempt):
            step(taken)


@pytest.mark.parametrize("attempt", [0, 2, -1])
def test_only_the_attempt_that_owns_the_job_finishes_it(attempt: int) -> None:
    with pytest.raises(StaleAttempt):
        finished(RUNNING, attempt=attempt)


def test_renewing_moves_the_lease_on_and_brings_the_wish_to_cancel() -> None:
    wished = transitions.cancel(RUNNING, SECRET, NOON)
    assert wished is not None
    renewed = transitions.renew(wished, 1, NOON + LEASE / 2, LEASE)
    assert renewed.lease_expires == NOON + LEASE * 1.5
    assert renewed.cancel_requested


def test_a_finish_records_the_outcome_and_ends_the_lease() -> None:
    job = finished(replace(RUNNING, cancel_requested=True))
    assert (job.status, job.start_time, job.finish_time, job.result_hashes) == (
        "SUCCESS",
        "2026-01-31T12:00:00.000Z",
        "2026-01-31T12:00:00.000Z",
        {"all": "0" * 40},
    )
    assert job.lease_expires is None
    assert not job.cancel_requested
    assert job.worker == "w"


def test_a_released_job_waits_again_and_is_published_again() -> None:
    """Its message may be gone: a second delivery of a running job is acked."""
    job = transitions.release(replace(RUNNING, start_time="x"), 1, NOON)
    assert (job.status, job.worker, job.start_time, job.lease_expires) == ("CREATED", None, None, None)
    assert (job.attempt, job.lost_attempts, job.published_at) == (1, 0, None)


@pytest.mark.parametrize(("pool", "later"), [("other", ("last",)), ("last", ()), (None, ())])
def test_a_job_that_is_handed_over_waits_and_is_still_to_be_published(pool: str | None, later: tuple[str, ...]) -> None:
    """No earlier pool comes again: a job is never handed round."""
    running = replace(RUNNING, start_time="x", lost_attempts=1, later_pools=("other", "last"))
    job = transitions.hand_over(running, 1, pool, NOON)
    waiting = replace(CREATED, pool=pool, later_pools=later, published_at=None, attempt=1, lost_attempts=1)
    assert job == waiting


def test_a_lost_job_waits_again_and_is_published_again() -> None:
    job = transitions.lose(replace(RUNNING, output_number=3), NOON, RETRIES)
    assert (job.status, job.worker, job.published_at, job.lost_attempts) == ("CREATED", None, None, 1)
    assert job.output_number == 3


def test_a_job_that_loses_its_workers_has_failed_after_a_bound() -> None:
    job = CREATED
    for _ in range(RETRIES + 1):
        job = transitions.lose(claimed(job), NOON, RETRIES)
    assert job.status == "FAILED_TO_EXECUTE"
    assert job.error is not None
    assert "vanished 3 times" in job.error
    assert job.finish_time == iso_time(NOON)


@pytest.mark.parametrize(("retries", "times"), [(0, "once"), (1, "2 times"), (RETRIES + 3, "6 times")])
def test_a_job_that_says_how_often_it_may_be_lost_is_believed(retries: int, times: str) -> None:
    job = CREATED
    for _ in range(retries + 1):
        assert job.status == "CREATED"
        job = claimed(job)
        job = transitions.lose(transitions.start(job, job.attempt, NOON, retries), NOON, RETRIES)
    assert job.status == "FAILED_TO_EXECUTE"
    assert f"vanished {times}:" in (job.error or "")


def test_a_loss_too_many_for_want_of_something_says_of_what() -> None:
    job = transitions.abandon(replace(RUNNING, lost_attempts=RETRIES), 1, NOON, RETRIES, "The storage is away.")
    assert job.status == "FAILED_TO_EXECUTE"
    assert job.error == "An attempt was lost 3 times, most recently for this reason: The storage is away."


def test_a_claim_that_finds_one_loss_too_many_ends_the_job() -> None:
    job = claimed(replace(RUNNING, lost_attempts=RETRIES), "other", EXPIRED)
    assert job.status == "FAILED_TO_EXECUTE"
    assert job.lease_expires is None


def test_a_lost_job_that_was_to_be_canceled_is_canceled() -> None:
    job = transitions.lose(replace(RUNNING, cancel_requested=True), NOON, RETRIES)
    assert (job.status, job.finish_time, job.cancel_requested) == ("CANCELED", iso_time(NOON), False)


@pytest.mark.parametrize("secret", ["", "the secret ", "THE SECRET", None, 5, ["the secret"], "\ud800"])
def test_cancel_needs_the_secret_whatever_the_status(secret: object) -> None:
    for job in IN_STATUS.values():
        with pytest.raises(Forbidden):
            transitions.cancel(job, secret, NOON)


def test_an_update_sets_what_it_names() -> None:
    fields = {"status": "ANY", "worker": "w", "startTime": "s", "finishTime": "f", "labels": ["l"], "outputNumber": 0}
    job = updated(CREATED, **fields, resultHashes={})
    assert job is not None
    document = job.document()
    assert document == {**CREATED.document(), **fields, "labels": ("l",), "resultHashes": {}}


def test_an_update_without_fields_changes_nothing() -> None:
    for job in (CREATED, RUNNING, EXTERNAL, replace(RUNNING, cancel_requested=True, output_number=0)):
        assert updated(job) == job


def test_an_update_of_another_worker_is_not_heard() -> None:
    assert updated(EXTERNAL, worker="other", status="SUCCESS") is None
    assert updated(EXTERNAL, worker="w", status="SUCCESS") is not None


def test_an_update_keeps_the_wish_to_cancel_until_the_job_has_ended() -> None:
    job = updated(replace(EXTERNAL, cancel_requested=True), startTime="s")
    assert job is not None
    assert job.cancel_requested
    ended = updated(job, status="CANCELED")
    assert ended is not None
    assert not ended.cancel_requested


def test_an_update_that_gives_a_job_back_lets_it_be_published_again() -> None:
    job = updated(RUNNING, status="CREATED")
    assert job is not None
    assert (job.status, job.published_at, job.lease_expires) == ("CREATED", None, None)


def test_output_is_to_be_cleared_some_time_after_the_end() -> None:
    with_output = transitions.receive_output(RUNNING, 4, 1, NOON, KEEP)
    assert (with_output.output_number, with_output.output_expires) == (4, None)
    job = finished(with_output)
    assert job.output_expires == NOON + KEEP
    assert transitions.expire_output(job, NOON + KEEP - timedelta(microseconds=1)) is None
    cleared = transitions.expire_output(job, NOON + KEEP)
    assert cleared == replace(job, output_number=None, output_expires=None)
    assert transitions.expire_output(cleared, NOON + KEEP) is None
    assert finished(RUNNING).output_expires is None
    late = transitions.receive_output(cleared, 5, None, NOON + 2 * KEEP, KEEP)
    assert late.output_expires == NOON + 3 * KEEP


@pytest.mark.parametrize(
    "step",
    [
        lambda job: transitions.release(job, 1, NOON),
        lambda job: transitions.hand_over(job, 1, "other", NOON),
        lambda job: transitions.hand_over(job, 1, None, NOON),
    ],
)
def test_a_job_that_is_given_back_after_a_cancel_is_canceled(step: Step) -> None:
    job = step(replace(RUNNING, cancel_requested=True, later_pools=("other",)))
    assert job is not None
    assert (job.status, job.cancel_requested, job.finish_time) == ("CANCELED", False, iso_time(NOON))


def test_output_is_kept_where_nobody_wants_it_cleared() -> None:
    job = transitions.receive_output(IN_STATUS[Status.SUCCESS], 0, None, NOON, None)
    assert job.output_expires is None


@pytest.mark.parametrize(("value", "labels"), [(None, ()), ([], ()), ("", ()), (0, ()), (["a", "b"], ("a", "b"))])
def test_labels_are_a_list_of_texts(value: object, labels: tuple[str, ...]) -> None:
    assert request_labels({"labels": value}) == labels


@pytest.mark.parametrize("value", ["a", 5, {"a": 1}, [5], [None], True])
def test_other_labels_are_invalid(value: object) -> None:
    with pytest.raises(Invalid):
        request_labels({"labels": value})


def test_times_are_utc_with_milliseconds() -> None:
    assert iso_time(datetime(2026, 1, 31, 13, 0, 0, 999999, tzinfo=UTC)) == "2026-01-31T13:00:00.999Z"


class AnyHistory(RuleBasedStateMachine):
    """Clients, workers and the sweep do what they can, in any order, with stale knowledge."""

    @initialize()
    def create_it(self) -> None:
        self.now = NOON
        self.secret = SECRET
        self.job = new_job()
        self.attempts: list[int] = []
        self.outcome: Job | None = None

    def apply(self, step: Step) -> bool:
        try:
            changed = step(self.job)
        except (NotClaimable, StaleAttempt, OutputRemains, Forbidden):
            return False
        self.job = changed or self.job
        return True

    @rule(seconds=st.integers(0, 40))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(lease=st.sampled_from([LEASE, None]))
    def somebody_claims(self, lease: timedelta | None) -> None:
        if self.apply(lambda job: transitions.claim(job, "w", self.now, lease, RETRIES)) and not self.job.finished:
            assert self.job.attempt not in self.attempts
            self.attempts.append(self.job.attempt)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), status=st.sampled_from(sorted(FINISHED)))
    def an_attempt_finishes(self, data: st.DataObject, status: Status) -> None:
        attempt = data.draw(st.sampled_from(self.attempts))
        owned = self.job.status == Status.RUNNING and self.job.attempt == attempt
        assert self.apply(lambda job: finished(job, status, attempt)) == owned

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), step=st.sampled_from(["renew", "release", "started", "hand over", "abandon"]))
    def an_attempt_goes_on(self, data: st.DataObject, step: str) -> None:
        attempt = data.draw(st.sampled_from(self.attempts))
        steps: dict[str, Step] = {
            "renew": lambda job: transitions.renew(job, attempt, self.now, LEASE),
            "release": lambda job: transitions.release(job, attempt, self.now),
            "started": lambda job: transitions.start(job, attempt, self.now, RETRIES),
            "hand over": lambda job: transitions.hand_over(job, attempt, next(iter(job.later_pools), None), self.now),
            "abandon": lambda job: transitions.abandon(job, attempt, self.now, RETRIES, "It rains."),
        }
        self.apply(steps[step])

    @rule(
        status=st.sampled_from([None, "CREATED", "RUNNING", "SUCCESS", "CANCELED"]),
        worker=st.sampled_from([None, "w", "v"]),
    )
    def an_external_worker_reports(self, status: str | None, worker: str | None) -> None:
        self.apply(lambda job: updated(job, status=status, worker=worker))

    @rule(secret=st.sampled_from([SECRET, "second secret", "wrong"]))
    def somebody_cancels(self, secret: str) -> None:
        assert self.apply(lambda job: transitions.cancel(job, secret, self.now)) == (secret == self.job.secret)

    @rule(number=st.integers(0, 3))
    def output_comes(self, number: int) -> None:
        self.apply(lambda job: transitions.receive_output(job, number, None, self.now, KEEP))

    @rule()
    def the_sweep_comes(self) -> None:
        leased = self.job.lease_expires
        if self.job.status == Status.RUNNING and leased is not None and leased <= self.now:
            self.apply(lambda job: transitions.lose(job, self.now, RETRIES))
        self.apply(lambda job: transitions.expire_output(job, self.now))
        self.apply(lambda job: transitions.record_publish(job, self.now))

    @rule()
    def the_dead_letter_comes(self) -> None:
        self.apply(lambda job: transitions.give_up(job, self.now))

    @rule()
    def somebody_creates_it_again(self) -> None:
        canceled = self.job.status == Status.CANCELED and self.job.output_number is None
        before = self.job
        self.apply(
            lambda job: transitions.create(
                job, "j", user_id="guest", labels=(), pools=(), secret="second secret", now=self.now
            )
        )
        assert (self.job is not before) == canceled
        if canceled:
            self.outcome = None

    @invariant()
    def an_outcome_is_never_left(self) -> None:
        if self.outcome is not None:
            output = {"output_number": self.job.output_number, "output_expires": self.job.output_expires}
            assert self.job == replace(self.outcome, **output)
        elif self.job.finished:
            self.outcome = self.job

    @invariant()
    def a_job_is_whole(self) -> None:
        if self.job.finished:
            assert self.job.lease_expires is None
            assert not self.job.cancel_requested
        if self.job.status == Status.CREATED:
            assert self.job.lease_expires is None
        assert self.job.lost_attempts <= RETRIES
        assert len(set(self.attempts)) == len(self.attempts)


AnyHistory.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestAnyHistory = AnyHistory.TestCase


def test_a_job_that_the_queue_gave_up_on_has_failed_and_says_why() -> None:
    ended = transitions.give_up(CREATED, NOON)
    assert ended is not None
    assert ended.status == Status.FAILED_TO_EXECUTE
    assert ended.error is not None
    assert ended.finish_time == iso_time(NOON)


@pytest.mark.parametrize("job", [claimed(new_job()), finished(claimed(new_job()))], ids=["running", "finished"])
def test_a_job_that_a_worker_has_or_had_is_not_given_up(job: Job) -> None:
    assert transitions.give_up(job, NOON) is None
