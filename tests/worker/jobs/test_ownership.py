"""A job has one owner at a time, and one recorded outcome."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from worker_harness import WORKER_ID, Stack, until

from cloud_executor.composition import Jobs
from cloud_executor.errors import TooLarge, Unavailable
from cloud_executor.jobs.attempts import Attempts
from cloud_executor.jobs.options import JobOptions
from cloud_executor.json_logging import JsonFormatter
from cloud_executor.model.jobs.job import Job, Outcome, OutputSegment, Status

WAITS = "touch ready; echo $$ > pid; exec sleep 60"


def with_lease(stack: Stack, seconds: float, kind: type[Attempts] = Attempts) -> Jobs:
    options = JobOptions(lease=timedelta(seconds=seconds))
    return stack.jobs_with(kind, options)


def take_over(jobs: Jobs, job_hash: str) -> Job:
    """Do what the sweep and another worker do when the lease has expired."""
    late = replace(jobs, lease_clock=lambda: jobs.clock() + 3 * jobs.options.lease)
    late.sweep.run()
    return late.attempts.claim(job_hash, "another")


def until_ready(stack: Stack) -> None:
    until(lambda: list(stack.work.glob("*/job/ready")))


def test_a_lease_is_renewed_while_the_command_runs(stack: Stack) -> None:
    jobs = with_lease(stack, 0.6)
    job = stack.add_script("touch ready; until test -e go; do sleep 0.01; done")
    with stack.worker(jobs=jobs) as worker, worker.running():
        until_ready(stack)
        first = stack.get(job).lease_expires
        assert first is not None
        until(lambda: (stack.get(job).lease_expires or first) > first + timedelta(seconds=0.6))
        (folder,) = stack.work.glob("*/job")
        (folder / "go").touch()
    assert stack.get(job).status == Status.SUCCESS


def test_a_lost_job_is_stopped_and_nothing_is_recorded(stack: Stack) -> None:
    job = stack.add_script(f"trap '' INT TERM; {WAITS}")
    with stack.worker() as worker:
        with worker.running():
            until_ready(stack)
            taken = take_over(stack.jobs, job.hash)
        worker.run_next()  # drops the message that the sweep has published
        assert worker.next(0) is None
    job = stack.get(job)
    assert (job.status, job.worker, job.attempt) == (Status.RUNNING, "another", taken.attempt)
    assert list(stack.work.iterdir()) == []


def test_an_operator_can_cancel_a_job_without_its_secret(stack: Stack) -> None:
    """docs/operations.md"""
    job = stack.add_script(WAITS)
    with stack.worker() as worker:
        with worker.running():
            until_ready(stack)
            command = [
                sys.executable,
                "-m",
                "cloud_executor.cli.main",
                "force-cancel",
                job.hash,
                "--data",
                str(stack.data),
            ]
            subprocess.run(command, check=True, timeout=30)
        assert worker.next(0) is None
    assert stack.get(job).status == Status.CANCELED


def test_the_outcome_of_an_old_attempt_is_not_recorded(stack: Stack) -> None:
    class Overtaken(Attempts):
        def finish(self, job_hash: str, attempt: int, outcome: Outcome) -> Job:
            take_over(stack.jobs, job_hash)
            return super().finish(job_hash, attempt, outcome)

    job = stack.add_script("echo x")
    with stack.worker(jobs=with_lease(stack, 30, Overtaken)) as worker:
        worker.run_next()
        worker.run_next()  # drops the message that the sweep has published
        assert worker.next(0) is None
    assert (stack.get(job).status, stack.get(job).worker) == (Status.RUNNING, "another")


def test_a_command_whose_lease_cannot_be_renewed_is_stopped(stack: Stack) -> None:
    class Away(Attempts):
        def renew(self, job_hash: str, attempt: int, lease: timedelta | None = None) -> Job:
            raise Unavailable

        def get(self, job_hash: str) -> Job:
            raise Unavailable

    job = stack.add_script(WAITS)
    with stack.worker(jobs=with_lease(stack, 1.0, Away)) as worker:
        worker.run_next()
        # It was given back; any worker may take it.
        delivery = worker.next()
        assert delivery is not None and delivery.job_hash == job.hash
    job = stack.get(job)
    assert (job.status, job.finish_time, job.error) == (Status.CREATED, None, None)


def test_an_outcome_waits_for_the_storage(stack: Stack) -> None:
    left = 3

    class Flaky(Attempts):
        def finish(self, job_hash: str, attempt: int, outcome: Outcome) -> Job:
            nonlocal left
            left -= 1
            if left:
                raise Unavailable
            return super().finish(job_hash, attempt, outcome)

    job = stack.add_script("echo x")
    with stack.worker(jobs=with_lease(stack, 30, Flaky)) as worker:
        worker.run_next()
        assert worker.next(0) is None
    assert stack.get(job).status == Status.SUCCESS


def test_an_outcome_that_cannot_be_stored_ends_the_job_without_results(stack: Stack) -> None:
    class Limited(Attempts):
        def finish(self, job_hash: str, attempt: int, outcome: Outcome) -> Job:
            if outcome.result_hashes is not None:
                raise TooLarge("The record of a job can have up to 10 bytes; shorten its fields.")
            return super().finish(job_hash, attempt, outcome)

    job = stack.add_script("echo x")
    with stack.worker(jobs=with_lease(stack, 30, Limited)) as worker:
        worker.run_next()
        assert worker.next(0) is None
    job = stack.get(job)
    assert (job.status, job.attempt, job.result_hashes) == (Status.FAILED_TO_SAVE_ARTIFACT, 1, None)
    assert job.error == (
        "The outcome of the job could not be stored: The record of a job can have up to 10 bytes; shorten its fields."
    )


def test_an_outcome_whose_response_was_lost_is_recorded_once(stack: Stack) -> None:
    class ResponseLost(Attempts):
        def finish(self, job_hash: str, attempt: int, outcome: Outcome) -> Job:
            super().finish(job_hash, attempt, outcome)
            raise Unavailable

    job = stack.add_script("echo x")
    with stack.worker(jobs=with_lease(stack, 30, ResponseLost)) as worker:
        worker.run_next()
        assert worker.next(0) is None
    assert (stack.get(job).status, stack.get(job).attempt) == (Status.SUCCESS, 1)


@pytest.mark.parametrize(
    "before",
    [
        lambda stack, job: stack.jobs.attempts.claim(job.hash, "another"),
        lambda stack, job: stack.cancel(job),
    ],
    ids=["run by another", "canceled"],
)
def test_a_delivery_of_a_job_that_must_not_run_is_acknowledged(
    stack: Stack, before: Callable[[Stack, Job], None]
) -> None:
    job = stack.add_script("echo x")
    before(stack, job)
    expected = stack.get(job)
    assert stack.run(job) == expected


def test_a_delivery_of_a_missing_job_is_acknowledged(stack: Stack) -> None:
    stack.jobs.queue.publish("default", "no-such-job")
    with stack.worker() as worker:
        worker.run_next()
        assert worker.next(0) is None


def test_a_delivery_is_kept_while_its_job_cannot_be_claimed(stack: Stack) -> None:
    left = 3

    class LateClaims(Attempts):
        def claim(self, *arguments: Any, **named: Any) -> Job:
            nonlocal left
            left -= 1
            if left:
                assert stack_worker.next(0) is None
                raise Unavailable
            return super().claim(*arguments, **named)

    job = stack.add_script("echo x")
    with stack.worker(jobs=with_lease(stack, 30, LateClaims)) as stack_worker:
        stack_worker.run_next()
    assert (stack.get(job).status, stack.get(job).attempt) == (Status.SUCCESS, 1)


def test_a_claim_whose_response_was_lost_is_the_same_attempt(stack: Stack) -> None:
    claims = 0

    class ResponseLost(Attempts):
        def claim(self, *arguments: Any, **named: Any) -> Job:
            nonlocal claims
            claims += 1
            job = super().claim(*arguments, **named)
            if claims == 1:
                raise Unavailable
            return job

    job = stack.add_script("echo x", retries=0)
    with stack.worker(jobs=with_lease(stack, 30, ResponseLost)) as worker:
        worker.run_next()
        assert worker.next(0) is None
    assert (stack.get(job).status, stack.get(job).attempt, claims) == (Status.SUCCESS, 1, 2)


def test_a_delivery_whose_job_cannot_be_claimed_for_long_is_given_back(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker_vm.worker.retry.retry_while_unavailable.__defaults__", (0.2,))

    class NoClaims(Attempts):
        def claim(self, *arguments: Any, **named: Any) -> Job:
            raise Unavailable

    job = stack.add_script("echo x")
    with stack.worker(jobs=with_lease(stack, 30, NoClaims)) as worker:
        with pytest.raises(Unavailable):
            worker.run_next()
        delivery = worker.next()
        assert delivery is not None and delivery.job_hash == job.hash


def test_the_heartbeat_survives_an_error(stack: Stack) -> None:
    failed = threading.Event()

    class Faulty(Attempts):
        def get(self, job_hash: str) -> Job:
            if not failed.is_set():
                failed.set()
                raise RuntimeError("a fault")
            return super().get(job_hash)

        def renew(self, job_hash: str, attempt: int, lease: timedelta | None = None) -> Job:
            return self.get(job_hash)

    job = stack.add_script(WAITS)
    with stack.worker(jobs=with_lease(stack, 30, Faulty)) as worker, worker.running():
        until_ready(stack)
        assert failed.wait(30)
        stack.cancel(job)
    assert stack.get(job).status == Status.CANCELED


def test_the_worker_is_recorded_while_it_lives(stack: Stack) -> None:
    options = JobOptions(refresh_period=timedelta(milliseconds=50))
    jobs = Jobs(stack.jobs.store, stack.jobs.queue, stack.jobs.pools, options)
    with stack.worker(jobs=jobs):
        ((first, _),) = jobs.clients.workers()
        assert first.client_id == WORKER_ID
        until(lambda: next(jobs.clients.workers())[0].last_seen > first.last_seen)


def test_log_records_identify_the_job_attempt_and_worker(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    job = stack.run(stack.add_script("echo x"))
    records = [record for record in caplog.records if record.name.startswith("worker_vm")]
    assert [vars(record)["action"] for record in records] == ["claim", "finish"]
    for record in records:
        fields = vars(record)
        assert (fields["job_hash"], fields["attempt"], fields["worker_id"]) == (job.hash, 1, WORKER_ID)
    assert json.dumps(vars(records[1])["status"]) == '"SUCCESS"'


def test_log_records_of_all_threads_have_the_jobs_trace(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    caplog.handler.setFormatter(JsonFormatter("worker"))
    failed = threading.Event()

    class Faulty(Attempts):
        def start(self, job_hash: str, attempt: int, retries: int | None = None) -> Job:
            logging.getLogger("elsewhere").info("something", extra={"action": "slot"})
            return super().start(job_hash, attempt, retries)

        def renew(self, job_hash: str, attempt: int, lease: timedelta | None = None) -> Job:
            if not failed.is_set():
                failed.set()
                raise RuntimeError("a fault of the heartbeat")
            return super().renew(job_hash, attempt, lease)

        def put_output(self, segment: OutputSegment, attempt: int) -> None:
            raise RuntimeError("a fault of the output")

    source = stack.add_script("echo x; until test -e go; do sleep 0.01; done; touch ready", outputSegmentSize=1)
    stack.cancel(source)
    stack.create(source.hash, trace="1" * 32)
    with stack.worker(jobs=with_lease(stack, 3, Faulty)) as worker:
        with worker.running():
            assert failed.wait(30)
            (folder,) = stack.work.glob("*/job")
            (folder / "go").touch()
        stack.add_script("true")
        worker.run_next()
    lines = [json.loads(line) for line in caplog.text.splitlines()]
    first = [line for line in lines if line.get("trace") == "1" * 32]
    assert {line["action"] for line in first} == {"claim", "slot", "renew", "output", "finish"}
    assert [line["action"] for line in lines if "trace" not in line] == ["claim", "slot", "finish"]
