"""Tries a deployment in a throw-away project, and reports what works: `make smoke PROJECT=my-throw-away-project`.

It deploys, runs jobs, destroys everything, deploys again, and destroys again, which takes about an hour and costs about
a dollar. Each check continues if another one fails, and the deployment is destroyed whatever happens.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click
import httpx

from cloud_executor.client import Client
from cloud_executor.client.job_info import JobInfo
from cloud_executor.errors import CloudExecutorError
from cloud_executor.model.jobs.message import encode_message
from cloud_executor.model.jobs.transitions import MAX_DEAD_LETTERS
from cloud_executor.process.stop_signals import reset_signals
from deploy.plan_guard import Deployment
from deploy.state import Backend

REPOSITORY = Path(__file__).parents[1]
CONFIGURATION = REPOSITORY / "terraform"
REPORT = REPOSITORY / "smoke-report.md"

MONITORING = "https://monitoring.googleapis.com/v3"

NAME = "smoke"
"""Name of the deployment, so that no other one in the project can be meant."""

JOB_SECONDS = 1200
"""Time limit for a job that waits for a VM, in seconds. Users should never wait that long."""

REUSE_SECONDS = 360
"""Pause before the second deployment, in seconds: Google reserves the ID of a deleted database for five minutes."""

VARIABLES = {"TF_VAR_delete_protection": "false", "TF_VAR_firestore_database": NAME, "TF_VAR_soft_delete_days": "0"}
"""Settings that make everything deletable."""

IAP_RANGE = "35.235.240.0/20"
"""Addresses from which Google's proxy opens SSH connections."""

Run = Callable[[Sequence[str]], str]
"""Runs a command and returns its standard output. Raises CommandFailed."""


class CommandFailed(Exception):
    """A command of gcloud or Terraform failed, or its output is not what this program expects."""


@dataclass(frozen=True)
class Result:
    check: str
    passed: bool
    seconds: float
    detail: str


@dataclass
class Smoke:
    """One smoke test.

    `run` calls programs, `fetch` reads JSON from a URL with an access token, and `backend` returns the options of
    `terraform init` that select the state of this deployment.
    """

    deployment: Deployment
    run: Run
    connect: Callable[[str, str | None], Client]
    """Makes a client for a URL and a nonce."""
    fetch: Callable[[str, str], Any]
    backend: Callable[[], list[str]]
    job_seconds: float = JOB_SECONDS
    reuse_seconds: float = REUSE_SECONDS
    results: list[Result] = field(default_factory=list)

    def everything(self) -> list[Result]:
        """Run all checks. The last destruction is attempted whatever happens."""
        try:
            if self._check("deploy", self._deploy):
                self._with_deployment()
                if self._check("destroy", self._destroy):
                    time.sleep(self.reuse_seconds)
                    self._check("deploy again", self._deploy)
        finally:
            self._check("destroy at the end", self._destroy)
        return self.results

    def _with_deployment(self) -> None:
        outputs: Mapping[str, Any] = {}

        def read_outputs() -> str:
            nonlocal outputs
            found = json.loads(self.run(["terraform", "-chdir=terraform", "output", "-json"]))
            outputs = {name: output["value"] for name, output in found.items()}
            return str(outputs["url"])

        if not self._check("read the outputs", read_outputs):
            return
        nonce = None
        if outputs.get("nonce_secret"):
            secret = f"--secret={outputs['nonce_secret']}"
            command = ["gcloud", "secrets", "versions", "access", "latest", secret, f"--project={self._project}"]
            try:
                nonce = self.run(command)
            except CommandFailed as error:
                self.results.append(Result("read the nonce", False, 0.0, str(error)))
                return
        with self.connect(outputs["url"], nonce) as client:
            for pool, labels in outputs["pool_labels"].items():
                self._check(f"run a job in the pool {pool}", partial(self._run_job, client, labels))
            self._check("cancel a running job", lambda: self._cancel_job(client))
            self._check("end a job by dead letters", lambda: self._dead_letter(client, outputs["dead_letter_topic"]))
        self._check("find the job's log record with its fields", self._log_record)
        self._check("read the log-based metric", self._metric)
        self._check("run docker info on a VM", lambda: self._docker_info(outputs["groups"].values()))

    def _check(self, name: str, action: Callable[[], str]) -> bool:
        """Run one check and record its result."""
        click.echo(f"{name} ...")
        started = time.monotonic()
        try:
            detail, passed = action(), True
        except (CommandFailed, CloudExecutorError, httpx.HTTPError, OSError, ValueError, LookupError) as error:
            detail, passed = f"{type(error).__name__}: {error}", False
        seconds = time.monotonic() - started
        self.results.append(Result(name, passed, seconds, detail))
        click.echo(f"  {'passed' if passed else 'FAILED'} after {seconds:.0f} s: {detail}")
        return passed

    @property
    def _project(self) -> str:
        return self.deployment.project

    # Deployment ------------------------------------------------------------------------------------------------------

    def _deploy(self) -> str:
        options = [f"--project={self._project}", f"--region={self.deployment.region}", f"--name={self.deployment.name}"]
        self.run([sys.executable, "-m", "deploy", *options, "--yes"])
        return "deployed"

    def _destroy(self) -> str:
        """Destroy the deployment of this test.

        Its state is selected first: if the deployment failed early, Terraform would use the state of another one.
        """
        self.run(["terraform", "-chdir=terraform", "init", "-input=false", "-reconfigure", *self.backend()])
        variables = {
            "project_id": self._project,
            "region": self.deployment.region,
            "name": self.deployment.name,
        }
        self.run(
            ["terraform", "-chdir=terraform", "destroy", "-auto-approve", "-input=false"]
            + [f"-var={name}={value}" for name, value in variables.items()]
        )
        return "destroyed"

    # Jobs ------------------------------------------------------------------------------------------------------------

    def _run_job(self, client: Client, labels: Iterable[str]) -> str:
        created, started = self._create(client, "echo smoke >out.txt", labels), time.monotonic()
        running: float | None = None

        def note(job: JobInfo) -> None:
            nonlocal running
            if running is None and job.status != "CREATED":
                running = time.monotonic() - started

        job = client.wait(created.hash, self.job_seconds, note)
        if not job.succeeded or "all" not in job.result_hashes:
            raise CommandFailed(f"The job ended as {job.status}: {job.error}")
        return f"from create to running: {running:.0f} s; to its end: {time.monotonic() - started:.0f} s"

    def _cancel_job(self, client: Client) -> str:
        created = self._create(client, "sleep 3600", ())
        self._wait_until(lambda: client.job(created.hash).status == "RUNNING", "The job did not start.")
        started = time.monotonic()
        client.cancel(created.hash, created.secret or "")
        job = client.wait(created.hash, self.job_seconds)
        if job.status != "CANCELED":
            raise CommandFailed(f"The job ended as {job.status}: {job.error}")
        return f"canceled after {time.monotonic() - started:.1f} s"

    def _dead_letter(self, client: Client, topic: str) -> str:
        """Send the dead letters of a job that no pool takes."""
        created = self._create(client, "true", ["smoke-test-without-worker"])
        message = encode_message(created.hash).decode()
        for _ in range(MAX_DEAD_LETTERS):
            command = ["gcloud", "pubsub", "topics", "publish", topic, f"--message={message}"]
            self.run([*command, f"--project={self._project}"])
        job = client.wait(created.hash, self.job_seconds)
        if job.status != "FAILED_TO_EXECUTE":
            raise CommandFailed(f"The job ended as {job.status}: {job.error}")
        return f"{job.error}"

    def _create(self, client: Client, script: str, labels: Iterable[str]) -> JobInfo:
        config = {
            "cmd": "sh",
            # The same files would be the same job.
            "args": ["-c", f"{script} # {base64.b32encode(os.urandom(10)).decode()}"],
            "resultArtifacts": [{"name": "all", "resultPatterns": []}],
        }
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "executor_config.json").write_text(json.dumps(config))
            return client.create_job(client.upload_folder(Path(folder)), labels)

    def _wait_until(self, condition: Callable[[], bool], failure: str) -> None:
        end = time.monotonic() + self.job_seconds
        while not condition():
            if time.monotonic() > end:
                raise CommandFailed(failure)
            time.sleep(1)

    # Logs, metrics, and VMs ------------------------------------------------------------------------------------------

    def _log_record(self) -> str:
        query = f'jsonPayload.deployment="{self.deployment.name}" AND jsonPayload.action="finish"'
        command = ["gcloud", "logging", "read", query, "--limit=1", "--freshness=1h", "--format=json"]
        records = json.loads(self.run([*command, f"--project={self._project}"]))
        if not records:
            raise CommandFailed("No log record of a finished job has fields. See the fluent-bit configuration of VMs.")
        return f"severity {records[0].get('severity')}, status {records[0]['jsonPayload'].get('status')}"

    def _metric(self) -> str:
        token = self.run(["gcloud", "auth", "print-access-token"])
        now = datetime.now(UTC)
        query = {
            "filter": f'metric.type="logging.googleapis.com/user/{self.deployment.name}/jobs"',
            "interval.startTime": (now - timedelta(hours=1)).isoformat(timespec="seconds"),
            "interval.endTime": now.isoformat(timespec="seconds"),
        }
        url = httpx.URL(f"{MONITORING}/projects/{self._project}/timeSeries", params=query)
        series = self.fetch(str(url), token).get("timeSeries", [])
        if not series:
            raise CommandFailed("The metric has no data. It can be late by some minutes.")
        return ", ".join(sorted(one["metric"].get("labels", {}).get("status", "no status") for one in series))

    def _docker_info(self, groups: Iterable[str]) -> str:
        """Open SSH for Google's proxy while this command runs."""
        project, name = f"--project={self._project}", f"{self.deployment.name}-smoke-ssh"
        network = f"--network={self.deployment.name}-workers"
        rule = ["gcloud", "compute", "firewall-rules"]
        vm, zone = self._any_vm(groups)
        self.run(
            [
                *rule,
                "create",
                name,
                network,
                f"--source-ranges={IAP_RANGE}",
                "--allow=tcp:22",
                "--priority=900",
                project,
            ]
        )
        try:
            command = "docker info --format '{{.ServerVersion}} {{.InitBinary}} {{.CgroupVersion}} {{.Driver}}'"
            ssh = ["gcloud", "compute", "ssh", vm, f"--zone={zone}", "--tunnel-through-iap", "--quiet"]
            return self.run([*ssh, f"--command={command}", project])
        finally:
            self.run([*rule, "delete", name, "--quiet", project])

    def _any_vm(self, groups: Iterable[str]) -> tuple[str, str]:
        for group in groups:
            command = ["gcloud", "compute", "instance-groups", "managed", "list-instances", group, "--format=json"]
            options = [f"--region={self.deployment.region}", f"--project={self._project}"]
            for instance in json.loads(self.run([*command, *options])):
                parts = str(instance["instance"]).split("/")
                return parts[-1], parts[parts.index("zones") + 1]
        raise CommandFailed("No VM is left. Run this check sooner after a job.")


def report(deployment: Deployment, results: Sequence[Result]) -> str:
    """The report in Markdown. Each line settles what the documentation says was not tried."""
    lines = [f"# Smoke test of {deployment}", "", "| check | result | seconds | detail |", "| --- | --- | --- | --- |"]
    for result in results:
        detail = " ".join(result.detail.split()).replace("|", "\\|")
        lines.append(
            f"| {result.check} | {'passed' if result.passed else 'FAILED'} | {result.seconds:.0f} | {detail} |"
        )
    return "\n".join([*lines, ""])


def run_program(command: Sequence[str]) -> str:
    """Run a command in the repository with the settings of the test. Its errors go to the terminal."""
    done = subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, **VARIABLES}, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise CommandFailed(f"`{' '.join(command[:4])}` ended with exit code {done.returncode}.")
    return done.stdout.strip()


def fetch_json(url: str, token: str) -> Any:  # noqa: ANN401 - JSON
    response = httpx.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=60)
    return response.raise_for_status().json()


@click.command()
@click.option("--project", required=True, help="Throw-away project. Everything that this test creates is destroyed.")
@click.option("--region", default="us-central1", show_default=True, help="Region of all resources.")
@click.option("--yes", is_flag=True, help="Skip the confirmation.")
def main(project: str, region: str, yes: bool) -> None:
    """Deploy to a throw-away project, try everything, and destroy the deployment."""
    reset_signals()
    if not yes:
        click.confirm(f"Deploy to the project {project} for an hour, and destroy the deployment {NAME}?", abort=True)
    deployment = Deployment(project, region, NAME)
    smoke = Smoke(
        deployment,
        run_program,
        lambda url, nonce: Client(url, nonce, google_identity=True),
        fetch_json,
        Backend(CONFIGURATION, deployment, None).prepare,
    )
    try:
        smoke.everything()
    finally:
        REPORT.write_text(report(deployment, smoke.results))
        click.echo(f"\nThe report is in {REPORT}.")
    if not all(result.passed for result in smoke.results):
        sys.exit(1)


if __name__ == "__main__":
    main()
