"""`executor up --slots 0..2`: workers start when jobs wait, and end when they are idle."""

from __future__ import annotations

import json
from pathlib import Path

from stack_process import StackProcess, job_folder, processes_of, run, until

WORKER = "worker_vm.worker.main"


def workers(stack: StackProcess) -> list[int]:
    return [pid for pid, command in processes_of(stack.data).items() if WORKER in command]


def test_workers_start_for_jobs_and_end_when_idle(tmp_path: Path) -> None:
    pools = [{"name": "default", "idleMinutes": 0.02}]
    stack = StackProcess(tmp_path / "data", "--slots", "0..2", settings={"EXECUTOR_POOLS": json.dumps(pools)})
    try:
        assert "(0 to 2 slots" in stack.ready_line
        assert workers(stack) == []
        client = stack.client
        folder = tmp_path / "jobs"
        sources = [job_folder(folder / str(number), f"sleep 1; echo {number}") for number in range(3)]
        jobs = [client.create_job(client.upload_folder(source)).hash for source in sources]
        until(lambda: len(workers(stack)) == 2)
        for job in jobs:
            assert client.wait(job).status == "SUCCESS"
        until(lambda: not workers(stack))
        late = job_folder(folder / "late", "echo late")
        ended = run("run", late, "--url", stack.url)
        assert (ended.returncode, ended.stdout) == (0, b"late\n")
    finally:
        stack.close()


def test_the_least_slots_are_there_without_jobs(tmp_path: Path) -> None:
    stack = StackProcess(tmp_path / "data", "--slots", "1..2")
    try:
        assert "(1 to 2 slots" in stack.ready_line
        assert len(workers(stack)) == 1
    finally:
        stack.close()
