"""`python -m deploy`, with programs that only write down how they were called."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from terraform_program import REPOSITORY, Terraform

REGISTRY = "us-central1-docker.pkg.dev/my-project/cloud-executor"
DIGEST = f"{REGISTRY}/worker@sha256:{'5678' * 16}"

PLAN = {
    "planned_values": {
        "root_module": {"resources": [{"type": "google_compute_global_forwarding_rule", "values": {}}]},
        "outputs": {"registry": {"value": REGISTRY}},
    }
}

PROGRAM = """\
#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
case "$(basename "$0") $*" in
    $FAILS) exit 1 ;;
    "terraform show"*) cat "$PLAN" ;;
    "terraform output"*) echo "curl https://api.example" ;;
    "docker inspect"*) echo '["elsewhere/worker@sha256:1234", "%s"]' ;;
esac
"""


def write_program(file: Path) -> None:
    file.write_text(PROGRAM % DIGEST)
    file.chmod(0o755)


class Deployment:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "programs"
        self.programs.mkdir()
        for name in ("terraform", "gcloud", "docker"):
            write_program(self.programs / name)
        for name in ("basename", "cat"):
            (self.programs / name).symlink_to(shutil.which(name) or name)
        (folder / "plan.json").write_text(json.dumps(PLAN))
        for name in ("deploy", "terraform"):
            shutil.copytree(
                REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".terraform")
            )
        self.backend = folder / "terraform/backend_override.tf"
        self.backend.unlink(missing_ok=True)

    def run(self, *options: str, says: str = "", fails: str = "nothing") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deploy", "--project", "my-project", *options],
            cwd=self.folder,
            env={
                "PATH": str(self.programs),
                "CALLS": str(self.folder / "calls"),
                "PLAN": str(self.folder / "plan.json"),
                "FAILS": fails,
            },
            input=says,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        """Since the checks, which change nothing."""
        found = (self.folder / "calls").read_text().splitlines()
        return [call for call in found if call != "docker info" and "print-access-token" not in call]


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


def test_it_costs_then_asks_then_builds_then_applies(deployment: Deployment) -> None:
    done = deployment.run(says="y\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("the load balancer") < done.stdout.index("Deploy to the project my-project?")
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


@pytest.mark.parametrize("says", ["n\n", "\n", ""])
def test_who_does_not_say_yes_deploys_nothing(deployment: Deployment, says: str) -> None:
    done = deployment.run(says=says)
    assert done.returncode == 1
    assert "What it will cost" in done.stdout
    assert not [call for call in deployment.calls if "apply" in call or "push" in call]


def test_who_said_yes_before_is_not_asked(deployment: Deployment) -> None:
    done = deployment.run("--yes", "--region", "europe-west4", "--name", "mine")
    assert (done.returncode, "What it will cost" in done.stdout) == (0, True)
    assert "Deploy to" not in done.stdout
    applied = next(call for call in deployment.calls if "-target" in call)
    assert applied.endswith("-var=project_id=my-project -var=region=europe-west4 -var=name=mine")


def test_the_state_can_be_where_cloud_build_keeps_it(deployment: Deployment) -> None:
    assert deployment.run("--yes", "--state-bucket", "states").returncode == 0
    init = deployment.calls[1]
    assert init == "terraform init -input=false -backend-config=bucket=states -backend-config=prefix=cloud-executor"
    assert 'backend "gcs"' in deployment.backend.read_text()


def test_without_a_bucket_the_state_stays_here(deployment: Deployment) -> None:
    assert deployment.run("--yes").returncode == 0
    assert not deployment.backend.exists()


@pytest.mark.parametrize("program", ["terraform", "gcloud", "docker"])
def test_a_missing_program_is_named_before_anything_is_done(deployment: Deployment, program: str) -> None:
    (deployment.programs / program).unlink()
    done = deployment.run("--yes")
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {program} is not installed. ")
    assert done.stderr.count("\n") == 1
    assert not (deployment.folder / "calls").exists()


@pytest.mark.parametrize(
    ("fails", "sentence"),
    [
        ("docker info", "Docker does not run"),
        ("gcloud auth print-access-token", "not signed in"),
        ("gcloud auth application-default print-access-token", "not signed in"),
    ],
)
def test_what_must_be_ready_is_named_before_anything_is_done(deployment: Deployment, fails: str, sentence: str) -> None:
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
def test_a_step_that_fails_is_the_last(deployment: Deployment, fails: str) -> None:
    done = deployment.run("--yes", fails=fails)
    assert done.returncode == 1
    assert "failed" in done.stderr
    assert "terraform apply -input=false plan" not in deployment.calls


@pytest.mark.timeout(300)
def test_terraform_itself_goes_along(make_terraform: Callable[[], Terraform], tmp_path: Path) -> None:
    """It lets itself be limited to the registry, and knows the registry's name before that is there."""
    terraform = make_terraform()
    repository = terraform.folder.parent
    shutil.copytree(REPOSITORY / "deploy", repository / "deploy")
    for name in ("gcloud", "docker"):
        write_program(tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-m", "deploy", "--project", "my-project", "--yes"],
        cwd=repository,
        env={
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "CALLS": f"{tmp_path}/calls",
            "FAILS": "nothing",
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 alerts, at most" in done.stdout
    assert "/rest/blob/createFile/job.zip" in done.stdout
    assert terraform.output("output", "-raw", "worker_image") == DIGEST
    assert len(terraform.applied()) > 90


def test_make_needs_a_project(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/server").touch()
    for name in ("pyproject.toml", "requirements.txt"):
        (tmp_path / name).touch()
    os.utime(tmp_path / ".venv/server")
    command = ["make", "--file", REPOSITORY / "Makefile", "deploy"]
    # Without what another make, which may have started this test, tells its children.
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (2, "PROJECT is not set. Run: make deploy PROJECT=my-project\n")
