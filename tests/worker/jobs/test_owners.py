"""Our own workers run the jobs of all users."""

from __future__ import annotations

from pathlib import Path

from worker_harness import Stack

from cloud_executor.model.jobs.job import Status


def test_jobs_of_two_users_with_the_same_content_run_apart(stack: Stack, tmp_path: Path) -> None:
    marker = tmp_path / "runs"
    source = stack.add_script(f"echo hello; ls; echo run >> {marker}; touch left").hash
    jobs = [stack.jobs.clients.create(source, (), user)[0] for user in ("ada", "bob", "guest")]
    assert len({job.hash for job in jobs}) == 3
    with stack.worker() as worker:
        for _ in jobs:
            worker.run_next()
        assert worker.next(0) is None
    for job in map(stack.get, jobs):
        assert (job.status, job.id) == (Status.SUCCESS, source)
        assert stack.results(job)["job_stdout.txt"] == b"hello\nexecutor_config.json\n"
    assert marker.read_text() == "run\n" * 3
