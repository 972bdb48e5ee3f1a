"""Tests of the smoke test's logic, with scripted gcloud and Terraform, and jobs on a local stack."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from terraform_program import REPOSITORY

from cloud_executor import Client
from cloud_executor.composition import open_jobs
from cloud_executor.model.jobs.message import decode_message
from cloud_executor.settings import Settings
from deploy.plan_guard import Deployment
from deploy.smoke import CommandFailed, Smoke, report

DEPLOYMENT = Deployment("my-project", "us-central1", "smoke")

RECORD = {"severity": "INFO", "jsonPayload": {"status": "SUCCESS"}}
SERIES = {"timeSeries": [{"metric": {"labels": {"status": "SUCCESS"}}}]}

CHECKS = [
    "deploy",
    "read the outputs",
    "run a job in the pool default",
    "cancel a running job",
    "end a job by dead letters",
    "find the job's log record with its fields",
    "read the log-based metric",
    "run docker info on a VM",
    "destroy",
    "deploy again",
    "destroy at the end",
]


class LocalStack:
    """`executor up`, whose jobs the scripted programs share."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "cloud_executor.cli.main", "up", "--port=0", f"--data={folder}", "--slots=1"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EXECUTOR_")}
        self.process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.process.stdout is not None
        found = re.search(r"http://\S+", self.process.stdout.readline())
        assert found
        self.url = found[0]
        self._jobs = open_jobs(Settings.from_env({"EXECUTOR_DATA": str(folder)}))

    def give_up(self, message: str) -> None:
        """Treat a message like a dead letter."""
        self._jobs.dead_letters.give_up(decode_message(message.encode()))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Programs:
    """Scripted gcloud and Terraform. A call that contains `fails` fails."""

    def __init__(
        self,
        stack: LocalStack,
        fails: str | None = None,
        records: Sequence[Mapping[str, Any]] = (RECORD,),
        labels: Sequence[str] = (),
    ) -> None:
        self.stack = stack
        self.labels = labels
        self.fails = fails
        self.records = records
        self.calls: list[str] = []

    def __call__(self, command: Sequence[str]) -> str:
        call = " ".join(command)
        self.calls.append(call)
        if self.fails is not None and self.fails in call.replace("-chdir=terraform ", ""):
            raise CommandFailed("scripted")
        if "topics publish smoke-dead-letter" in call:
            (message,) = (part.removeprefix("--message=") for part in command if part.startswith("--message="))
            self.stack.give_up(message)
        answers: dict[str, Callable[[], Any]] = {
            "terraform -chdir=terraform output": lambda: {
                name: {"value": value}
                for name, value in {
                    "url": self.stack.url,
                    "nonce_secret": None,
                    "pool_labels": {"default": list(self.labels)},
                    "dead_letter_topic": "smoke-dead-letter",
                    "groups": {"default": "smoke-default"},
                }.items()
            },
            "gcloud logging read": lambda: list(self.records),
            "gcloud compute instance-groups": lambda: [{"instance": "projects/p/zones/us-central1-a/instances/vm-1"}],
        }
        found = next((answer() for start, answer in answers.items() if call.startswith(start)), "done")
        return found if isinstance(found, str) else json.dumps(found)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    stack = LocalStack(tmp_path_factory.mktemp("stack") / "data")
    try:
        yield stack
    finally:
        stack.close()


def smoke(programs: Programs, job_seconds: float = 60.0) -> Smoke:
    return Smoke(
        DEPLOYMENT,
        programs,
        Client,
        lambda url, _: SERIES if "smoke%2Fjobs" in url or "smoke/jobs" in url else {},
        lambda: ["-backend-config=path=smoke"],
        job_seconds,
        reuse_seconds=0,
    )


def test_every_check_passes_on_a_working_deployment(stack: LocalStack) -> None:
    programs = Programs(stack)
    results = smoke(programs).everything()
    assert [result.check for result in results] == CHECKS
    assert [result for result in results if not result.passed] == []
    details = {result.check: result.detail for result in results}
    assert re.match(r"from create to running: \d+ s", details["run a job in the pool default"])
    assert "too many times" in details["end a job by dead letters"]
    assert [call for call in programs.calls if "destroy" in call] == [
        "terraform -chdir=terraform destroy -auto-approve -input=false"
        " -var=project_id=my-project -var=region=us-central1 -var=name=smoke"
    ] * 2
    init = "terraform -chdir=terraform init -input=false -reconfigure -backend-config=path=smoke"
    places = [place for place, call in enumerate(programs.calls) if " destroy " in call]
    assert [programs.calls[place - 1] for place in places] == [init, init]
    text = report(DEPLOYMENT, results)
    assert "| cancel a running job | passed |" in text
    assert text.count("\n") == len(CHECKS) + 4


@pytest.mark.parametrize(
    ("fails", "failed", "skipped"),
    [
        ("-m deploy", ["deploy"], CHECKS[1:-1]),
        ("terraform output", ["read the outputs"], CHECKS[2:8]),
        ("compute ssh", ["run docker info on a VM"], []),
        ("logging read", ["find the job's log record with its fields"], []),
        ("terraform destroy", ["destroy", "destroy at the end"], ["deploy again"]),
    ],
)
def test_failed_check_is_reported_and_everything_is_destroyed(
    stack: LocalStack, fails: str, failed: list[str], skipped: list[str]
) -> None:
    programs = Programs(stack, fails)
    results = smoke(programs).everything()
    assert [result.check for result in results if not result.passed] == failed
    assert [check for check in CHECKS if check not in {result.check for result in results}] == skipped
    assert "terraform destroy" in programs.calls[-1].replace("-chdir=terraform ", "")
    # The rule that opens SSH is deleted whether or not the command on the VM succeeds.
    assert len([call for call in programs.calls if "firewall-rules create" in call]) == len(
        [call for call in programs.calls if "firewall-rules delete" in call]
    )


def test_job_that_never_starts_fails_its_checks(stack: LocalStack) -> None:
    programs = Programs(stack, labels=["nobody-has-this"])
    results = smoke(programs, job_seconds=0.5).everything()
    assert "run a job in the pool default" in {result.check for result in results if not result.passed}


def test_log_record_without_fields_fails_its_check(stack: LocalStack) -> None:
    checked = smoke(Programs(stack, records=[]))
    assert checked.everything()
    (result,) = (found for found in checked.results if found.check == "find the job's log record with its fields")
    assert not result.passed
    assert "fluent-bit" in result.detail
