"""Label jobs: a worker gets the labels whose jobs succeed, and runs the jobs that need them."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from worker_harness import Stack, WorkerProgram, config, until, zip_of

from cloud_executor.jobs.external_workers import CheckIn
from cloud_executor.model.jobs.job import Status


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "label_jobs.json"


@pytest.fixture
def stack(tmp_path: Path, file: Path) -> Stack:
    pools = '[{"name": "default", "labels": ["own"]}]'
    return Stack(tmp_path, EXECUTOR_LABEL_JOBS=str(file), EXECUTOR_POOLS=pools)


def source(stack: Stack, script: str, **fields: object) -> str:
    content = zip_of({"executor_config.json": config(script, **fields)})
    return stack.blobs.create_file("source.zip", [content]).hash


def offered(stack: Stack, worker: WorkerProgram) -> list[str]:
    return [
        label for record, _ in stack.jobs.clients.workers() if record.client_id == worker.id for label in record.labels
    ]


def test_a_worker_offers_the_labels_whose_jobs_succeeded(stack: Stack, file: Path, tmp_path: Path) -> None:
    script = f'echo run >> {tmp_path}/log; test -n "$ORIGIN_URL"'
    label_jobs = {
        "good": source(stack, script, outputInterval=1),
        "bad": source(stack, "exit 3"),
        "missing": "0" * 40,
        "own": source(stack, f"echo own >> {tmp_path}/log"),
        "wrong": source(stack, "true", cmd=5),
    }
    file.write_text(json.dumps(label_jobs))
    job = stack.create(source(stack, "echo ran"), "good", "own")
    assert job.pool == "default"
    with stack.program() as worker:
        assert stack.finished(job).status == Status.SUCCESS
        assert offered(stack, worker) == ["good", "own"]
    assert (tmp_path / "log").read_text() == "run\n"
    assert [found.hash for found in stack.jobs.clients.jobs()] == [job.hash]
    lines = [json.loads(line) for line in stack.log.read_text().splitlines()]
    told = {line["label"]: line.get("reason") for line in lines if line["action"] == "label_job"}
    assert told == {
        "good": None,
        "bad": "The command exited with code 3.",
        "missing": "No blob has this hash.",
        "wrong": "executor_config.json: cmd must be a nonempty string.",
    }


def test_a_job_whose_label_job_failed_waits_for_an_external_worker(stack: Stack, file: Path) -> None:
    file.write_text(json.dumps({"bad": source(stack, "exit 3")}))
    job = stack.create(source(stack, "echo ran"), "bad")
    assert (job.pool, job.document().get("waitingFor")) == ("default", None)
    with stack.program() as worker:
        until(lambda: stack.get(job).pool is None)
        other = stack.create(source(stack, "echo other"))
        assert stack.finished(other).worker == worker.id
    assert stack.get(job).document()["waitingFor"] == ("bad",)
    assert stack.jobs.external_workers.check_in(CheckIn("external", 1, ("bad",))).jobs_to_start == (job.hash,)


def test_a_worker_that_is_stopped_during_a_label_job_ends_immediately(stack: Stack, file: Path, tmp_path: Path) -> None:
    file.write_text(json.dumps({"slow": source(stack, f"touch {tmp_path}/ready; sleep 600")}))
    with stack.program() as worker:
        until((tmp_path / "ready").exists)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert list(stack.work.iterdir()) == []


def test_a_worker_is_listed_while_its_label_jobs_run(stack: Stack, file: Path, tmp_path: Path) -> None:
    slow = f"touch {tmp_path}/ready; until test -e {tmp_path}/go; do sleep 0.1; done"
    file.write_text(json.dumps({"slow": source(stack, slow)}))
    job = stack.create(source(stack, "echo ran"), "slow")
    with stack.program() as worker:
        until((tmp_path / "ready").exists)
        assert offered(stack, worker) == ["own"]
        assert stack.get(job).status == Status.CREATED
        (tmp_path / "go").touch()
        assert stack.finished(job).status == Status.SUCCESS
        assert offered(stack, worker) == ["own", "slow"]


def test_a_job_goes_to_a_later_pool_even_if_only_a_label_job_provides_its_label(tmp_path: Path, file: Path) -> None:
    pools = '[{"name": "small", "cpus": 1}, {"name": "large", "cpus": 8}]'
    stack = Stack(tmp_path, EXECUTOR_LABEL_JOBS=str(file), EXECUTOR_POOLS=pools)
    file.write_text(json.dumps({"tool": source(stack, "true")}))
    job = stack.create(source(stack, "echo ran", resources={"cpus": 2}), "tool")
    assert job.pool == "small"
    with stack.worker() as worker:
        worker.heartbeat.offer(["tool"])
        worker.run_next()
    assert stack.get(job).pool == "large"
