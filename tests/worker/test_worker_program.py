"""The worker program: its start, its signals, and what is left after a crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from worker_harness import PROJECT, WAIT_SECONDS, Stack, WorkerProgram, config, is_running, parent_of, until, zip_of

from cloud_executor.composition import Jobs
from cloud_executor.model.jobs.job import Job, Status
from worker_vm.worker.sandbox.process.sandbox import ProcessSandbox
from worker_vm.worker.work_folder import WorkFolder

WAITS = "echo $$ > pid; (setsid sleep 60 & echo $! >> pid); touch ready; trap '' INT; while :; do sleep 60; done"


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """A stack that soon notices that a worker has vanished: it waits for a lease if the worker was seen lately."""
    return Stack(tmp_path, EXECUTOR_LEASE="3")


def until_ready(stack: Stack) -> list[int]:
    """Wait until a job runs; return the IDs of its processes."""
    (ready,) = until(lambda: list(stack.work.glob("*/job/ready")))
    return [int(line) for line in (ready.parent / "pid").read_text().split()]


def until_started(stack: Stack, worker: WorkerProgram) -> None:
    until(lambda: any(record.client_id == worker.id for record, _ in stack.jobs.clients.workers()))


def kill_with_supervisor(worker: WorkerProgram, command: int) -> None:
    """Kill a worker and the supervisor of a command, so that nothing ends the command."""
    worker.process.send_signal(signal.SIGSTOP)
    os.kill(parent_of(command), signal.SIGKILL)
    worker.process.kill()
    worker.wait()


def finished_by_another(stack: Stack, job: Job) -> Job:
    """Wait until other workers have run the job, sweeping lost jobs meanwhile; return it."""

    def swept() -> bool:
        stack.jobs.sweep.run()
        return stack.get(job).finished

    until(swept)
    return stack.get(job)


def test_the_program_runs_jobs_in_parallel_and_stops_on_sigterm(stack: Stack) -> None:
    # Each one waits for the other.
    jobs = [
        stack.add_script(f'touch "$TMPDIR/../../{mine}"; until test -e "$TMPDIR/../../{other}"; do sleep 0.01; done')
        for mine, other in (("a", "b"), ("b", "a"))
    ]
    with stack.program("--slots", "2", "--origin-url", "http://here:2") as worker:
        more = stack.add_script('printf %s "$ORIGIN_URL"')
        for job in (*jobs, more):
            found = stack.finished(job)
            assert (found.status, found.worker) == (Status.SUCCESS, worker.id)
        assert stack.results(more)["job_stdout.txt"] == b"http://here:2"
        worker.process.terminate()
        assert worker.wait() == 0


def test_the_worker_is_listed_with_its_labels(stack: Stack) -> None:
    with stack.program(EXECUTOR_WORKER_LABELS="gpu,big") as worker:
        until_started(stack, worker)
        ((record, jobs),) = stack.jobs.clients.workers()
    assert (record.client_id, record.labels, list(jobs)) == (worker.id, ("big", "gpu"), [])


def test_the_program_serves_the_given_pool_with_its_settings(tmp_path: Path) -> None:
    pools = '[{"name": "plain"}, {"name": "special", "labels": ["gpu"], "slots": 2}]'
    stack = Stack(tmp_path, EXECUTOR_POOLS=pools)
    with stack.program("--pool", "special") as worker:
        until_started(stack, worker)
        ((record, _),) = stack.jobs.clients.workers()
        assert (record.labels, record.pool, record.slots) == (("gpu",), "special", 2)
        plain = stack.add_script("echo plain")
        special = stack.add_zip(zip_of({"executor_config.json": config("true")}), "gpu")
        assert stack.finished(special).status == Status.SUCCESS
        assert stack.get(plain).status == Status.CREATED


def test_every_log_line_is_a_record_of_the_worker(stack: Stack) -> None:
    job = stack.add_script("true")
    with stack.program("--slots", "1") as worker:
        stack.finished(job)
        worker.process.terminate()
        worker.wait()
    records = [json.loads(line) for line in stack.log.read_text().splitlines()]
    assert [record["action"] for record in records] == ["start", "claim", "finish", "stop"]
    assert {record["severity"] for record in records} == {"INFO"}
    assert {record["worker_id"] for record in records} == {worker.id}
    assert {record["job_hash"] for record in records if "job_hash" in record} == {job.hash}


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT], [signal.SIGTERM, signal.SIGINT] * 3])
def test_a_stopped_worker_gives_its_job_to_the_next_one(stack: Stack, signals: list[signal.Signals]) -> None:
    job = stack.add_script(f"test -e {stack.work}/again && echo done && exit; touch {stack.work}/again; {WAITS}")
    with stack.program("--slots", "1") as worker:
        pids = until_ready(stack)
        for number in signals:
            worker.process.send_signal(number)
        assert worker.wait() == 0
        assert not any(map(is_running, pids))
        assert list(stack.work.glob("attempt-*")) == []
    released = stack.get(job)
    assert (released.status, released.attempt, released.lost_attempts) == (Status.CREATED, 1, 0)
    with stack.program("--slots", "1"):
        job = stack.finished(job)
    assert (job.status, job.attempt) == (Status.SUCCESS, 2)
    assert stack.results(job)["job_stdout.txt"] == b"done\n"


def test_a_cancel_reaches_a_job_of_the_program(stack: Stack) -> None:
    job = stack.add_script(WAITS)
    with stack.program("--slots", "1"):
        pids = until_ready(stack)
        stack.cancel(job)
        assert stack.finished(job).status == Status.CANCELED
        assert not any(map(is_running, pids))


def test_a_killed_workers_job_runs_again_and_has_one_outcome(stack: Stack) -> None:
    job = stack.add_script(f"echo ran >> {stack.work}/runs; test -e {stack.work}/again && exit 4; {WAITS}")
    with stack.program("--slots", "1") as worker:
        pids = until_ready(stack)
        kill_with_supervisor(worker, pids[0])
        (stack.work / "again").touch()
        assert all(map(is_running, pids))
    with stack.program("--slots", "1") as worker:
        job = finished_by_another(stack, job)
        # The start removed the dead worker's leftovers.
        assert not any(map(is_running, pids))
    assert (job.status, job.attempt, job.lost_attempts, job.worker) == (Status.FAILED_TO_EXECUTE, 2, 1, worker.id)
    assert job.error == "The command exited with code 4."
    assert (stack.work / "runs").read_text() == "ran\nran\n"


def test_a_command_ends_with_its_killed_worker(stack: Stack) -> None:
    stack.add_script(WAITS)
    with stack.program("--slots", "1") as worker:
        pids = until_ready(stack)
        worker.process.kill()
        worker.wait()
        until(lambda: not any(map(is_running, pids)))


def test_a_worker_that_was_frozen_past_its_lease_records_nothing(stack: Stack) -> None:
    """It resumes when another worker has finished its job."""
    job = stack.add_script(f"test -e {stack.work}/again && exit; touch {stack.work}/again; {WAITS}")
    with stack.program("--slots", "1") as frozen:
        pids = until_ready(stack)
        frozen.process.send_signal(signal.SIGSTOP)
        with stack.program("--slots", "1") as worker:
            expected = finished_by_another(stack, job)
            assert (expected.status, expected.worker) == (Status.SUCCESS, worker.id)
        frozen.process.send_signal(signal.SIGCONT)
        until(lambda: not any(map(is_running, pids)))
        frozen.process.terminate()
        assert frozen.wait() == 0
    assert stack.get(job) == expected


def test_a_job_that_kills_its_workers_fails(stack: Stack) -> None:
    jobs = Jobs(stack.jobs.store, stack.jobs.queue, stack.jobs.pools, replace(stack.jobs.options, retries=1))
    job = stack.add_script("kill -9 $(cut -d' ' -f4 /proc/$PPID/stat); sleep 60")
    for losses in (1, 1):
        with stack.program("--slots", "1") as worker:
            assert worker.wait() == -signal.SIGKILL
        until(lambda: jobs.sweep.run().returned)
        assert stack.get(job).lost_attempts == losses
    WorkFolder(stack.work).sweep(ProcessSandbox().end_leftovers)
    job = stack.get(job)
    assert (job.status, job.attempt) == (Status.FAILED_TO_EXECUTE, 2)
    assert "vanished" in (job.error or "")


# Leftovers ----------------------------------------------------------------------------------------------------------


def test_the_files_of_live_workers_are_kept(stack: Stack) -> None:
    job = stack.add_script(WAITS)
    with stack.program("--slots", "1"):
        pids = until_ready(stack)
        WorkFolder(stack.work).sweep(ProcessSandbox().end_leftovers)
        assert all(map(is_running, pids))
        assert len(list(stack.work.glob("attempt-*/job/ready"))) == 1
        stack.cancel(job)
        stack.finished(job)


def test_only_processes_of_the_attempt_are_killed(tmp_path: Path) -> None:
    """Only processes that carry the folder's mark are killed, because process IDs may have been reused."""
    left = tempfile.mkdtemp(prefix="attempt-", dir=tmp_path)
    marked = {**os.environ, "CLOUD_EXECUTOR_ATTEMPT": left}
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    inside = subprocess.Popen(sleep, env=marked, start_new_session=True)
    outside = subprocess.Popen(sleep, env={**os.environ, "CLOUD_EXECUTOR_ATTEMPT": left + "x"}, start_new_session=True)
    try:
        WorkFolder(tmp_path).sweep(ProcessSandbox().end_leftovers)
        assert inside.wait(WAIT_SECONDS) == -signal.SIGKILL
        assert outside.poll() is None
        assert list(tmp_path.iterdir()) == []
    finally:
        for process in (inside, outside):
            process.kill()
            process.wait(WAIT_SECONDS)


# Errors at the start ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "environment", "sentence"),
    [
        (["--slots", "0"], {}, "Invalid value for '--slots'"),
        (["--work", "{file}"], {}, "is a file."),
        (["--work", "{file}/below"], {}, "The folder for running jobs"),
        ([], {"EXECUTOR_LEASE": "soon"}, "Error: EXECUTOR_LEASE must be a whole number of seconds, not 'soon'."),
        (
            ["--pool", "gpu"],
            {"EXECUTOR_POOLS": '[{{"name": "a"}}, {{"name": "b"}}]'},
            "Error: --pool must be one of the configured worker pools (a, b), not 'gpu'.",
        ),
        ([], {"EXECUTOR_POOLS": '[{{"name": 5}}]'}, "Error: EXECUTOR_POOLS[0].name must be 1 to 20 lowercase letters"),
        (["--work", "{file}.work"], {"EXECUTOR_DATA": "{file}"}, "Error: A storage service is unavailable"),
    ],
)
def test_an_invalid_option_or_setting_is_reported(
    tmp_path: Path, options: list[str], environment: dict[str, str], sentence: str
) -> None:
    file = tmp_path / "file"
    file.touch()
    done = subprocess.run(
        [sys.executable, "-m", "worker_vm.worker.main", *(option.format(file=file) for option in options)],
        cwd=PROJECT,
        env={
            **os.environ,
            "EXECUTOR_DATA": str(tmp_path / "data"),
            **{name: value.format(file=file) for name, value in environment.items()},
        },
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
