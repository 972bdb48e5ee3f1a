"""Cancel running jobs, and check that no processes are left."""

from __future__ import annotations

import os

import pytest
from worker_harness import Stack, is_running, until

from bench.processes import tree
from cloud_executor.jobs.attempts import Attempts
from cloud_executor.model.jobs.job import Job, Status


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_vm.worker.heartbeat.POLL_SECONDS", 0.1)


def canceled_when_ready(stack: Stack, job: Job) -> Job:
    """Run the job, and cancel it when the command has created a file `ready`."""
    with stack.worker() as worker, worker.running():
        until(lambda: list(stack.work.glob("*/job/ready")))
        stack.cancel(job)
    return stack.get(job)


def pids(stack: Stack, job: Job, file: str = "job_stdout.txt") -> list[int]:
    """The process IDs that the command has written."""
    return [int(line) for line in stack.results(job)[file].split()]


def test_a_command_is_interrupted_and_its_results_are_kept(stack: Stack) -> None:
    job = canceled_when_ready(stack, stack.add_script("echo partial; touch ready; exec sleep 60"))
    assert (job.status, job.error) == (Status.CANCELED, None)
    assert job.finish_time is not None
    assert stack.results(job)["job_stdout.txt"] == b"partial\n"


def test_children_of_the_command_are_interrupted_too(stack: Stack) -> None:
    script = "sleep 60 & echo $!; sleep 60 & echo $!; touch ready; wait; sleep 60"
    job = canceled_when_ready(stack, stack.add_script(script))
    assert job.status == Status.CANCELED
    found = pids(stack, job)
    assert len(found) == 2 and not any(map(is_running, found))


@pytest.mark.parametrize("ignored", ["INT", "INT TERM"])
def test_a_command_that_ignores_signals_is_ended(stack: Stack, ignored: str) -> None:
    script = f"trap '' {ignored}; echo $$; touch ready; while :; do sleep 60 & echo $! >> pids; wait; done"
    job = canceled_when_ready(stack, stack.add_script(script))
    assert job.status == Status.CANCELED
    found = pids(stack, job) + pids(stack, job, "pids")
    assert len(found) >= 2 and not any(map(is_running, found))


@pytest.mark.parametrize("code", [0, 1])
def test_a_command_that_exits_normally_after_an_interrupt_is_canceled(stack: Stack, code: int) -> None:
    script = f"trap 'echo cleaned up; exit {code}' INT; touch ready; sleep 60 & wait"
    job = canceled_when_ready(stack, stack.add_script(script))
    assert (job.status, job.error) == (Status.CANCELED, None)
    assert stack.results(job)["job_stdout.txt"] == b"cleaned up\n"


def test_a_stopped_command_is_ended(stack: Stack) -> None:
    job = canceled_when_ready(stack, stack.add_script("touch ready; kill -STOP $$"))
    assert job.status == Status.CANCELED


def test_a_job_that_is_canceled_between_claim_and_start_is_not_started(stack: Stack) -> None:
    class CanceledMeanwhile(Attempts):
        def start(self, job_hash: str, attempt: int, retries: int | None = None) -> Job:
            stack.cancel(job)
            return super().start(job_hash, attempt, retries)

    jobs = stack.jobs_with(CanceledMeanwhile)
    job = stack.add_script("echo started")
    with stack.worker(jobs=jobs) as worker:
        worker.run_next()
    job = stack.get(job)
    assert (job.status, job.result_hashes) == (Status.CANCELED, None)
    assert job.finish_time is not None


def test_a_canceled_job_that_is_created_again_runs_again(stack: Stack) -> None:
    job = stack.add_script("test -e again || { touch ready; sleep 60; }")
    canceled_when_ready(stack, job)
    assert stack.create(job.hash).status == Status.CREATED


# Processes that a command leaves running ----------------------------------------------------------------------------

HIDDEN = "exec env -i setsid sh -c 'echo $$; exec sleep 60' > \"$top/hidden\" 2> /dev/null < /dev/null"


@pytest.mark.parametrize("segments", [{}, {"outputInterval": 10}], ids=["file", "pipe"])
@pytest.mark.parametrize(
    "left",
    [
        "sleep 60 & echo $!",
        "trap '' INT TERM HUP; sleep 60 & echo $!",
        "setsid sleep 60 & echo $!",
        "(setsid sh -c 'echo $$; sleep 60 & echo $!; wait' &) ; sleep 0.2",
        "set -m; sleep 60 & echo $!",
        "sleep 60 > /dev/null 2>&1 & echo $!",
        f"top=$PWD; (cd /; {HIDDEN}) & until test -s hidden; do sleep 0.01; done; cat hidden",
    ],
)
def test_background_processes_end_with_the_job(
    stack: Stack, left: str, segments: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker_vm.worker.sandbox.process.sandbox.LEFTOVER_SECONDS", 0.1)
    job = stack.run(stack.add_script(left, **segments))
    assert job.status == Status.SUCCESS
    found = pids(stack, job)
    assert found and not any(map(is_running, found))


def test_processes_end_with_a_command_that_kills_itself(stack: Stack) -> None:
    """A command that kills itself leaves no processes either."""
    job = stack.run(stack.add_script("sleep 60 & echo $!; kill -KILL $$"))
    assert job.error == "The command was killed by signal SIGKILL."
    assert not any(map(is_running, pids(stack, job)))


@pytest.mark.parametrize("segments", [{}, {"outputInterval": 10}], ids=["file", "pipe"])
def test_the_last_process_of_a_pipeline_can_finish(stack: Stack, segments: dict[str, int]) -> None:
    """It may run a little longer than the command, as with bash's `> >(tee …)`."""
    job = stack.run(stack.add_script("(sleep 0.2; echo late) & echo early", **segments))
    assert stack.results(job)["job_stdout.txt"] == b"early\nlate\n"
    if segments:
        assert "".join(text for _, text in stack.output(job)) == "early\nlate\n"


def test_the_processes_of_another_job_keep_running(stack: Stack) -> None:
    other = stack.add_script("setsid sleep 60 & echo $! > other; touch ready; wait")
    with stack.worker() as worker, worker.running():
        until(lambda: list(stack.work.glob("*/job/ready")))
        (numbers,) = stack.work.glob("*/job/other")
        pid = int(numbers.read_text())
        quick = stack.add_script("setsid sleep 60 & echo $!")
        delivery = worker.next()
        assert delivery is not None
        worker.runner.run(delivery)
        assert stack.get(quick).status == Status.SUCCESS
        assert not any(map(is_running, pids(stack, quick)))
        assert is_running(pid)
        stack.cancel(other)
    assert not is_running(pid)


def test_no_zombie_is_left(stack: Stack) -> None:
    stack.run(stack.add_script("for i in 1 2 3 4 5; do (setsid true &) ; done; sleep 0.1"))
    until(lambda: all(map(is_running, tree(os.getpid()))))


def test_a_system_without_process_descriptors_waits_by_a_thread(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.pidfd_open")
    job = stack.run(stack.add_script("exit 3"))
    assert job.error == "The command exited with code 3."


# When the worker stops ----------------------------------------------------------------------------------------------


def test_a_stopping_worker_gives_its_job_back_and_records_nothing(stack: Stack) -> None:
    job = stack.add_script("echo x; touch ready; sleep 60", outputInterval=100_000)
    with stack.worker() as worker:
        with worker.running():
            until(lambda: list(stack.work.glob("*/job/ready")))
            worker.runner.stopping.set()
            worker.heartbeat.release_all()
        delivery = worker.next()
        assert delivery is not None and delivery.job_hash == job.hash
    job = stack.get(job)
    assert (job.status, job.attempt, job.lost_attempts, job.worker) == (Status.CREATED, 1, 0, None)
    assert (job.start_time, job.finish_time, job.result_hashes, job.error) == (None, None, None, None)
    assert list(stack.work.iterdir()) == []


def test_a_job_that_is_given_back_is_delivered_even_if_another_delivery_was_acknowledged(stack: Stack) -> None:
    job = stack.add_script("touch ready; sleep 60")
    with stack.worker() as worker:
        with worker.running():
            until(lambda: list(stack.work.glob("*/job/ready")))
            # A worker that gets the message now finds the job running and acknowledges the message.
            stack.jobs.queue.publish(stack.jobs.pools[0].name, job.hash)
            worker.run_next()
            worker.runner.stopping.set()
            worker.heartbeat.release_all()
        delivery = worker.next()
        assert delivery is not None and delivery.job_hash == job.hash
        assert worker.next(0) is None
