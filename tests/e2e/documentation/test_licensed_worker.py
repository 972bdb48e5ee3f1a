"""docs/how-to/licensed-worker.md: WebGME's own worker with a label job and a token."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from node_packages import INSTALL_SECONDS, NODE, installed_modules
from stack_process import StartStack, job_folder, run, started

from cloud_executor import Client

# The test may have to install the npm packages.
pytestmark = pytest.mark.timeout(INSTALL_SECONDS + 120)


def test_a_worker_with_a_license_runs_the_jobs_of_its_user(start_stack: StartStack, tmp_path: Path) -> None:
    modules = installed_modules(NODE, "--omit=optional")
    label_jobs, license_file = tmp_path / "label_jobs.json", tmp_path / "license"
    label_jobs.write_text("{}")
    stack = start_stack(
        "--slots",
        "0",
        EXECUTOR_AUTH="token",
        EXECUTOR_LABEL_JOBS=str(label_jobs),
        EXECUTOR_WORKER_REFRESH_INTERVAL="1500",
    )

    def token(name: str, *options: str) -> str:
        return run("token", "create", name, *options, "--data", stack.data).stdout.decode().strip()

    user = {"EXECUTOR_URL": stack.url, "EXECUTOR_TOKEN": token("ada")}
    label_job = job_folder(tmp_path / "matlab-label", f"test -e {license_file}", artifacts=[])
    stored = run("put", "--zip", label_job, **user)
    label_jobs.write_text(json.dumps({"matlab": stored.stdout.decode().strip()}))

    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                stack.url: {"apiToken": token("matlab-machine", "--user", "ada", "--role", "worker")},
                "maxConcurrentJobs": 2,
            }
        )
    )
    program = modules / "webgme-executor-worker" / "node_worker.js"
    command = ("node", "--no-warnings", "-r", NODE / "without_file.js", program, "config.json", "work")
    license_file.touch()
    with (
        (tmp_path / "worker.log").open("wb") as log,
        started(*command, cwd=tmp_path, stdout=log, stderr=log, env=dict(os.environ)),
        Client(stack.url, token=user["EXECUTOR_TOKEN"]) as client,
        Client(stack.url, token=token("eve")) as other,
    ):
        # WebGME's worker does not wait for its output files to exist.
        folder = job_folder(tmp_path / "job", "sleep 0.5; echo licensed")
        job = client.submit(folder, labels=["matlab"])
        theirs = other.submit(folder, labels=["matlab"])
        assert job.wait(60).succeeded, (tmp_path / "worker.log").read_text()
        assert job.results["all"].read("job_stdout.txt") == b"licensed\n"
        assert [worker.labels for worker in client.workers()] == [("matlab",)]
        assert theirs.refresh().status == "CREATED"
