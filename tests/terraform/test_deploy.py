"""Tests of `python -m deploy`, with fakes of the programs that it calls."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_programs import DIGEST, REGISTRY, write_programs
from terraform_program import REPOSITORY, Document, Terraform

PLAN = {
    "planned_values": {
        "root_module": {"resources": [{"type": "google_compute_global_forwarding_rule", "values": {}}]},
        "outputs": {"registry": {"value": REGISTRY}},
    }
}


class Deployment:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "programs"
        self.programs.mkdir()
        write_programs(self.programs, "terraform", "gcloud", "docker")
        (self.programs / "cat").symlink_to(shutil.which("cat") or "cat")
        (folder / "plan.json").write_text(json.dumps(PLAN))
        for name in ("deploy", "terraform"):
            shutil.copytree(
                REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".terraform")
            )
        self.backend = folder / "terraform/backend_override.tf"
        self.backend.unlink(missing_ok=True)

    def run(self, *options: str, answer: str = "", fails: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deploy", "--project", "my-project", *options],
            cwd=self.folder,
            env={
                "PATH": str(self.programs),
                "CALLS": str(self.folder / "calls"),
                "PLAN": str(self.folder / "plan.json"),
                "FAILS": fails,
            },
            input=answer,
            capture_output=True,
            text=True,
            timeout=60,
        )

    @property
    def calls(self) -> list[str]:
        """The calls of programs, except those that check the requirements."""
        found = (self.folder / "calls").read_text().splitlines()
        return [call for call in found if call != "docker info" and "print-access-token" not in call]


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


def test_prints_costs_asks_builds_and_applies(deployment: Deployment) -> None:
    done = deployment.run(answer="y\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("load balancer") < done.stdout.index("Deploy to the project my-project?")
    assert "18.25" in done.stdout
    assert done.stdout.endswith("curl https://api.example\n")
    image = f"{REGISTRY}/worker"
    assert deployment.calls == [
        "gcloud services enable cloudresourcemanager.googleapis.com serviceusage.googleapis.com --project=my-project",
        "terraform init -input=false",
        "terraform plan -input=false -out=plan -var=project_id=my-project",
        "terraform show -json plan",
        "terraform apply -auto-approve -input=false -target=google_artifact_registry_repository.images"
        " -target=google_project_service_identity.agent -var=project_id=my-project",
        "gcloud auth configure-docker us-central1-docker.pkg.dev --quiet",
        "docker build --platform=linux/amd64 --file=worker_vm/Dockerfile --build-arg=REVISION=unknown"
        f" --tag={image}:unknown --tag={image}:latest .",
        f"docker push --quiet {image}:unknown",
        f"docker push --quiet {image}:latest",
        f"docker inspect --format={{{{json .RepoDigests}}}} {image}:unknown",
        f"terraform plan -input=false -out=plan -var=project_id=my-project -var=worker_image={DIGEST}",
        "terraform show -json plan",
        "terraform apply -input=false plan",
        "terraform output -raw try_it",
    ]


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_without_confirmation_nothing_is_deployed(deployment: Deployment, answer: str) -> None:
    done = deployment.run(answer=answer)
    assert done.returncode == 1
    assert "Estimated cost" in done.stdout
    assert not [call for call in deployment.calls if "apply" in call or "push" in call]


def test_yes_skips_the_confirmation(deployment: Deployment) -> None:
    done = deployment.run("--yes", "--region", "europe-west4", "--name", "mine")
    assert (done.returncode, "Estimated cost" in done.stdout) == (0, True)
    assert "Deploy to" not in done.stdout
    applied = next(call for call in deployment.calls if "-target" in call)
    assert applied.endswith("-var=project_id=my-project -var=region=europe-west4 -var=name=mine")


def test_state_bucket_configures_the_backend(deployment: Deployment) -> None:
    assert deployment.run("--yes", "--state-bucket", "states").returncode == 0
    init = deployment.calls[1]
    assert init == "terraform init -input=false -backend-config=bucket=states -backend-config=prefix=cloud-executor"
    assert 'backend "gcs"' in deployment.backend.read_text()


def test_without_state_bucket_there_is_no_backend(deployment: Deployment) -> None:
    assert deployment.run("--yes").returncode == 0
    assert not deployment.backend.exists()


@pytest.mark.parametrize("program", ["terraform", "gcloud", "docker"])
def test_missing_program_is_reported_before_any_change(deployment: Deployment, program: str) -> None:
    (deployment.programs / program).unlink()
    done = deployment.run("--yes")
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {program} is not installed. ")
    assert done.stderr.count("\n") == 1
    assert not (deployment.folder / "calls").exists()


@pytest.mark.parametrize(
    ("fails", "sentence"),
    [
        ("docker info", "Docker is not available."),
        ("gcloud auth print-access-token", "You are not signed in."),
        ("gcloud auth application-default print-access-token", "You are not signed in."),
    ],
)
def test_unmet_requirement_is_reported_before_any_change(deployment: Deployment, fails: str, sentence: str) -> None:
    done = deployment.run("--yes", fails=fails)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert deployment.calls == []


@pytest.mark.parametrize(
    "fails",
    [
        "gcloud services*",
        "terraform init*",
        "terraform plan*",
        "terraform apply*-target*",
        "docker build*",
        "docker push*",
    ],
)
def test_failing_step_is_the_last_one(deployment: Deployment, fails: str) -> None:
    done = deployment.run("--yes", fails=fails)
    assert done.returncode == 1
    command = " ".join(fails.rstrip("*").split("*")[0].split()[:2])
    assert f"Error: `{command}` failed. Fix what it reports above" in done.stderr
    assert "terraform apply -input=false plan" not in deployment.calls


def test_deploys_with_the_real_terraform(minimal_deployment: Terraform, minimal: list[Document]) -> None:
    """Terraform can apply the registry alone, and plans the registry's name before it exists."""
    log = (minimal_deployment.repository / "deploy.log").read_text()
    assert "4 alerts, where Google charges for alerts" in log
    assert "/rest/blob/createFile/job.zip" in log
    assert minimal_deployment.output("output", "-raw", "worker_image") == DIGEST
    assert len(minimal) > 90


def test_make_deploy_requires_a_project(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/server").touch()
    for name in ("pyproject.toml", "requirements.txt"):
        (tmp_path / name).touch()
    os.utime(tmp_path / ".venv/server")
    command = ["make", "--file", REPOSITORY / "Makefile", "deploy"]
    # Excludes the variables of another make, which may have started this test.
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (2, "PROJECT is not set. Run: make deploy PROJECT=my-project\n")
