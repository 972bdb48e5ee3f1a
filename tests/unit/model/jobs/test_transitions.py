from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from job_steps import KEEP, LEASE, NOON, RETRIES, SECRET, Step, claimed, finished, new_job, updated
from msgspec.structs import replace

from cloud_executor.errors import Forbidden
from cloud_executor.model.documents.javascript import iso_time
from cloud_executor.model.jobs import transitions
from cloud_executor.model.jobs.job import (
    FINISHED,
    Durations,
    Job,
    NotClaimable,
    OutputRemains,
    StaleAttempt,
    Status,
)

CREATED = replace(new_job(), published_at=NOON)
RUNNING = claimed(CREATED)
EXTERNAL = claimed(CREATED, lease=None)
EXPIRED = NOON + LEASE
IN_STATUS = {
    status: CREATED if status == Status.CREATED else RUNNING if status == Status.RUNNING else finished(RUNNING, status)
    for status in Status
}

STEPS: dict[str, Step] = {
    "create": lambda job: transitions.create(
        job, "j", user_id="guest", labels=(), pools=(), secret="another", now=NOON
    ),
    "claim": claimed,
    "start": lambda job: transitions.start(job, job.attempt, NOON, None),
    "renew": lambda job: transitions.renew(job, job.attempt, NOON, LEASE),
    "hand over": lambda job: transitions.hand_over(job, job.attempt, None, NOON),
    "finish": finished,
    "release": lambda job: transitions.release(job, job.attempt, NOON),
    "cancel": lambda job: transitions.cancel(job, SECRET, NOON),
    "give up": lambda job: transitions.give_up(job, NOON),
    "report success": lambda job: updated(job, status="SUCCESS"),
    "report running": lambda job: updated(job, status="RUNNING", worker="w"),
    "publish": lambda job: transitions.record_publish(job, NOON),
}

REJECTED = "rejected"
UNCHANGED = "unchanged"

NEXT_STATUS: dict[str, dict[str, str]] = {
    # Transition, by the status of the job: the next status.
    "create": {"CREATED": UNCHANGED, "RUNNING": UNCHANGED, "CANCELED": "CREATED", "finished": UNCHANGED},
    "claim": {"CREATED": "RUNNING", "RUNNING": REJECTED, "CANCELED": REJECTED, "finished": REJECTED},
    "start": {"CREATED": REJECTED, "RUNNING": "RUNNING", "CANCELED": REJECTED, "finished": REJECTED},
    "renew": {"CREATED": REJECTED, "RUNNING": "RUNNING", "CANCELED": REJECTED, "finished": REJECTED},
    "finish": {"CREATED": REJECTED, "RUNNING": "SUCCESS", "CANCELED": REJECTED, "finished": REJECTED},
    "release": {"CREATED": REJECTED, "RUNNING": "CREATED", "CANCELED": REJECTED, "finished": REJECTED},
    "hand over": {"CREATED": REJECTED, "RUNNING": "CREATED", "CANCELED": REJECTED, "finished": REJECTED},
    "cancel": {"CREATED": "CANCELED", "RUNNING": "RUNNING", "CANCELED": UNCHANGED, "finished": UNCHANGED},
    "give up": {"CREATED": "CREATED", "RUNNING": UNCHANGED, "CANCELED": UNCHANGED, "finished": UNCHANGED},
    "report success": {"CREATED": "SUCCESS", "RUNNING": UNCHANGED, "CANCELED": UNCHANGED, "finished": UNCHANGED},
    "report running": {"CREATED": "RUNNING", "RUNNING": UNCHANGED, "CANCELED": UNCHANGED, "finished": UNCHANGED},
    "publish": {"CREATED": "CREATED", "RUNNING": UNCHANGED, "CANCELED": UNCHANGED, "finished": UNCHANGED},
}


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("step", STEPS)
def test_status_after_each_transition(step: str, status: Status) -> None:
    kind = status if status in ("CREATED", "RUNNING", "CANCELED") else "finished"
    expected = NEXT_STATUS[step][kind]
    if expected == REJECTED:
        with pytest.raises((NotClaimable, StaleAttempt)):
            STEPS[step](IN_STATUS[status])
        return
    job = STEPS[step](IN_STATUS[status])
    assert (UNCHANGED if job is None else job.status) == expected


def test_all_statuses_but_two_are_finished() -> None:
    assert {status for status in Status if replace(CREATED, status=status).finished} == FINISHED
    assert set(Status) - FINISHED == {Status.CREATED, Status.RUNNING}
    assert not replace(CREATED, status="FAILED").finished


def test_new_job_has_the_fields_of_its_create() -> None:
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


def test_document_has_known_fields_but_never_the_secret() -> None:
    job = replace(finished(RUNNING), cancel_requested=True, error="why", output_number=0)
    document = job.document()
    assert document["attempt"] == 1
    assert document.keys() & {"exitCode", "durations", "peakMemoryMiB", "logs"} == set()
    facts = replace(job, exit_code=0, durations=Durations(queued=1.5), peak_memory_mib=7).document()
    assert (facts["exitCode"], facts["durations"], facts["peakMemoryMiB"]) == (0, Durations(queued=1.5), 7)
    assert document["resultHashes"] == {"all": "0" * 40}
    assert (document["cancelRequested"], document["error"], document["outputNumber"]) == (True, "why", 0)
    assert SECRET not in str(document)
    assert replace(job, result_hashes={}).document()["resultHashes"] == {}


def test_job_keeps_its_trace_but_does_not_show_it() -> None:
    def created(stored: Job | None, trace: str | None) -> Job:
        job = transitions.create(stored, "j", user_id="u", labels=(), pools=(), secret="s", now=NOON, trace=trace)
        assert job is not None
        return job

    job = created(None, "1" * 32)
    canceled = finished(claimed(transitions.lose(claimed(job), NOON, RETRIES)), Status.CANCELED)
    assert canceled.trace == "1" * 32
    assert "1" * 32 not in str(canceled.document())
    assert created(canceled, "2" * 32).trace == "2" * 32
    # Without a trace, the stored record is the same as before traces existed.
    assert b"trace" not in msgspec.json.encode(created(canceled, None))


def test_recreated_job_keeps_only_the_attempt_count_of_the_canceled_one() -> None:
    old = replace(finished(RUNNING, Status.CANCELED), lost_attempts=1, error="why", published_at=NOON)
    recreated = new_job(old, "new secret")
    assert recreated == replace(new_job(secret="new secret"), attempt=old.attempt)
    with pytest.raises(StaleAttempt):
        finished(claimed(recreated), attempt=old.attempt)


def test_canceled_job_is_not_recreated_before_its_output_is_deleted() -> None:
    old = replace(finished(RUNNING, Status.CANCELED), output_number=0)
    with pytest.raises(OutputRemains):
        new_job(old)
    assert new_job(transitions.drop_output(old)).output_number is None


def test_claim_starts_an_attempt_with_a_lease() -> None:
    assert replace(CREATED, status="RUNNING", worker="w", attempt=1, lease_expires=NOON + LEASE) == RUNNING
    assert EXTERNAL.lease_expires is None
    assert EXTERNAL.attempt == 1


def test_repeated_claim_is_the_same_attempt() -> None:
    first = transitions.claim(CREATED, "w", NOON, LEASE, "default", "token")
    again = transitions.claim(first, "w", EXPIRED, LEASE, "default", "token")
    assert again == replace(first, lease_expires=EXPIRED + LEASE)
    canceled = replace(first, cancel_requested=True)
    assert transitions.claim(canceled, "w", NOON, LEASE, "default", "token") == canceled
    for token in ("another", None):
        with pytest.raises(NotClaimable):
            transitions.claim(first, "w", NOON, LEASE, "default", token)
    with pytest.raises(NotClaimable):
        transitions.claim(transitions.claim(CREATED, "w", NOON, LEASE), "w", NOON, LEASE, None, None)


def test_running_job_cannot_be_claimed_even_if_its_lease_has_expired() -> None:
    with pytest.raises(NotClaimable):
        claimed(RUNNING, "other", EXPIRED)
    with pytest.raises(NotClaimable):
        claimed(EXTERNAL, "other", NOON + timedelta(days=1000))


@pytest.mark.parametrize("job", [CREATED, replace(CREATED, pool=None)], ids=["waiting", "external"])
def test_message_of_another_pool_cannot_claim_the_job(job: Job) -> None:
    with pytest.raises(NotClaimable):
        transitions.claim(job, "w", NOON, LEASE, "other")


def test_message_of_its_pool_claims_the_job() -> None:
    assert transitions.claim(CREATED, "w", NOON, LEASE, "default") == RUNNING


def test_lost_job_is_claimed_again_and_the_old_attempt_is_rejected() -> None:
    taken = claimed(transitions.lose(replace(RUNNING, start_time="old start"), EXPIRED, RETRIES), "other", EXPIRED)
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
def test_only_the_current_attempt_can_finish_the_job(attempt: int) -> None:
    with pytest.raises(StaleAttempt):
        finished(RUNNING, attempt=attempt)


def test_renewal_extends_the_lease_and_returns_a_requested_cancel() -> None:
    canceled = transitions.cancel(RUNNING, SECRET, NOON)
    assert canceled is not None
    renewed = transitions.renew(canceled, 1, NOON + LEASE / 2, LEASE)
    assert renewed.lease_expires == NOON + LEASE * 1.5
    assert renewed.cancel_requested


def test_finish_records_the_outcome_and_ends_the_lease() -> None:
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


def test_released_job_waits_and_is_published_again() -> None:
    """Its message may be gone, because a second delivery of a running job is acked."""
    job = transitions.release(replace(RUNNING, start_time="x"), 1, NOON)
    assert (job.status, job.worker, job.start_time, job.lease_expires) == ("CREATED", None, None, None)
    assert (job.attempt, job.lost_attempts, job.published_at) == (1, 0, None)


@pytest.mark.parametrize(("pool", "later"), [("other", ("last",)), ("last", ()), (None, ())])
def test_handed_over_job_waits_and_is_published_in_its_new_pool(pool: str | None, later: tuple[str, ...]) -> None:
    """It never returns to an earlier pool, so it cannot circle between pools."""
    running = replace(RUNNING, start_time="x", lost_attempts=1, later_pools=("other", "last"))
    job = transitions.hand_over(running, 1, pool, NOON)
    waiting = replace(CREATED, pool=pool, later_pools=later, published_at=None, attempt=1, lost_attempts=1)
    assert job == waiting


def test_lost_job_waits_and_is_published_again() -> None:
    job = transitions.lose(replace(RUNNING, output_number=3), NOON, RETRIES)
    assert (job.status, job.worker, job.published_at, job.lost_attempts) == ("CREATED", None, None, 1)
    assert job.output_number == 3


def test_job_fails_after_too_many_lost_attempts() -> None:
    job = CREATED
    for _ in range(RETRIES + 1):
        job = transitions.lose(claimed(job), NOON, RETRIES)
    assert job.status == "FAILED_TO_EXECUTE"
    assert job.error is not None
    assert "vanished 3 times" in job.error
    assert job.finish_time == iso_time(NOON)


@pytest.mark.parametrize(("retries", "times"), [(0, "once"), (1, "2 times"), (RETRIES + 3, "6 times")])
def test_retries_of_the_job_replace_those_of_the_settings(retries: int, times: str) -> None:
    job = CREATED
    for _ in range(retries + 1):
        assert job.status == "CREATED"
        job = claimed(job)
        job = transitions.lose(transitions.start(job, job.attempt, NOON, retries), NOON, RETRIES)
    assert job.status == "FAILED_TO_EXECUTE"
    assert f"vanished {times}:" in (job.error or "")


def test_error_of_an_abandoned_job_names_the_last_cause() -> None:
    job = transitions.abandon(replace(RUNNING, lost_attempts=RETRIES), 1, NOON, RETRIES, "The storage is away.")
    assert job.status == "FAILED_TO_EXECUTE"
    assert job.error == "An attempt was lost 3 times, most recently for this reason: The storage is away."


def test_too_many_lost_attempts_end_the_job() -> None:
    job = transitions.lose(replace(RUNNING, lost_attempts=RETRIES), EXPIRED, RETRIES)
    assert job.status == "FAILED_TO_EXECUTE"
    assert job.lease_expires is None


def test_lost_job_with_a_requested_cancel_is_canceled() -> None:
    job = transitions.lose(replace(RUNNING, cancel_requested=True), NOON, RETRIES)
    assert (job.status, job.finish_time, job.cancel_requested) == ("CANCELED", iso_time(NOON), False)


@pytest.mark.parametrize("secret", ["", "the secret ", "THE SECRET", None, 5, ["the secret"], "\ud800"])
def test_cancel_requires_the_secret_in_every_status(secret: object) -> None:
    for job in IN_STATUS.values():
        with pytest.raises(Forbidden):
            transitions.cancel(job, secret, NOON)


def test_update_sets_the_given_fields() -> None:
    fields = {"status": "ANY", "worker": "w", "startTime": "s", "finishTime": "f", "labels": ["l"], "outputNumber": 0}
    job = updated(CREATED, **fields, resultHashes={})
    assert job is not None
    document = job.document()
    assert document == {**CREATED.document(), **fields, "labels": ("l",), "resultHashes": {}}


def test_update_without_fields_changes_nothing() -> None:
    for job in (CREATED, EXTERNAL, replace(EXTERNAL, cancel_requested=True, output_number=0)):
        assert updated(job) == replace(job, start_by=None)


def test_update_from_another_worker_is_ignored() -> None:
    assert updated(EXTERNAL, worker="other", status="SUCCESS") is None
    assert updated(EXTERNAL, worker="w", status="SUCCESS") is not None


def test_update_keeps_a_requested_cancel_until_the_job_has_finished() -> None:
    job = updated(replace(EXTERNAL, cancel_requested=True), startTime="s")
    assert job is not None
    assert job.cancel_requested
    ended = updated(job, status="CANCELED")
    assert ended is not None
    assert not ended.cancel_requested


def test_job_that_an_update_returns_is_published_again() -> None:
    job = updated(EXTERNAL, status="CREATED")
    assert job is not None
    assert (job.status, job.published_at, job.start_by) == ("CREATED", None, None)


def test_output_expires_some_time_after_the_end() -> None:
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
def test_returned_job_with_a_requested_cancel_is_canceled(step: Step) -> None:
    job = step(replace(RUNNING, cancel_requested=True, later_pools=("other",)))
    assert job is not None
    assert (job.status, job.cancel_requested, job.finish_time) == ("CANCELED", False, iso_time(NOON))


def test_output_without_a_clear_timeout_does_not_expire() -> None:
    job = transitions.receive_output(IN_STATUS[Status.SUCCESS], 0, None, NOON, None)
    assert job.output_expires is None


def test_job_that_the_queue_gave_up_on_fails_with_an_error() -> None:
    ended = transitions.give_up(replace(CREATED, dead_letters=transitions.MAX_DEAD_LETTERS - 1), NOON)
    assert ended is not None
    assert ended.status == Status.FAILED_TO_EXECUTE
    assert ended.error is not None
    assert ended.finish_time == iso_time(NOON)


@pytest.mark.parametrize("job", [claimed(new_job()), finished(claimed(new_job()))], ids=["running", "finished"])
def test_running_and_finished_jobs_are_not_given_up(job: Job) -> None:
    assert transitions.give_up(job, NOON) is None
