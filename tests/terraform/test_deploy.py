"""Tests of `python -m deploy`, with fakes of the programs that it calls."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from fake_programs import DIGEST, FUNCTIONS_DIGEST, REGISTRY, Deployment
from terraform_program import REPOSITORY, Document, Terraform


def pushes(name: str, file: str) -> list[str]:
    image = f"{REGISTRY}/{name}"
    return [
        f"docker build --platform=linux/amd64 --file={file} --build-arg=REVISION=unknown"
        f" --tag={image}:unknown --tag={image}:latest .",
        f"docker push --quiet {image}:unknown",
        f"docker push --quiet {image}:latest",
        f"docker inspect --format={{{{json .RepoDigests}}}} {image}:unknown",
    ]


def test_prints_costs_asks_builds_and_applies(deployment: Deployment) -> None:
    done = deployment.run(answer="y\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("load balancer") < done.stdout.index("Deploy to the project my-project?")
    assert "18.25" in done.stdout
    counted = "The plan for my-project/us-central1/cloud-executor: 3 to add, 1 to change, 1 to destroy."
    assert done.stdout.index(counted) < done.stdout.index("Deploy to the project my-project?")
    assert done.stdout.endswith("curl https://api.example\n")
    assert deployment.calls == [
        "gcloud services enable cloudresourcemanager.googleapis.com serviceusage.googleapis.com --project=my-project",
        "terraform init -input=false -reconfigure"
        " -backend-config=path=states/my-project/us-central1/cloud-executor/terraform.tfstate",
        "terraform plan -input=false -out=plan -var=project_id=my-project",
        "terraform show -json plan",
        "terraform plan -input=false -out=first-plan"
        " -target=module.cloud_executor.google_artifact_registry_repository.images"
        " -target=module.cloud_executor.google_project_service_identity.agent -var=project_id=my-project",
        "terraform show -json first-plan",
        "terraform apply -input=false first-plan",
        "gcloud auth configure-docker us-central1-docker.pkg.dev --quiet",
        *pushes("worker", "worker_vm/Dockerfile"),
        *pushes("functions", "functions/Dockerfile"),
        f"terraform plan -input=false -out=plan -var=worker_image={DIGEST} -var=functions_image={FUNCTIONS_DIGEST}"
        " -var=project_id=my-project",
        "terraform show -json plan",
        "terraform apply -input=false plan",
        *(
            f"gcloud artifacts docker tags add {image} {image.partition('@')[0]}:deployed --quiet"
            for image in (DIGEST, FUNCTIONS_DIGEST)
        ),
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
        "terraform plan*-target*",
        "terraform apply*",
        "docker build*",
        "docker push*",
    ],
)
def test_failing_step_is_the_last_one(deployment: Deployment, fails: str) -> None:
    done = deployment.run("--yes", fails=fails)
    assert done.returncode == 1
    command = " ".join(fails.rstrip("*").split("*")[0].split()[:2])
    assert f"Error: `{command}` failed. Fix what it reports above" in done.stderr
    assert "terraform output -raw try_it" not in deployment.calls


def test_last_step_is_retried_once_with_a_new_plan(deployment: Deployment) -> None:
    """Google's permissions can take minutes to become effective, and an applied plan cannot be applied again."""
    done = deployment.run("--yes", "--retry-after=0", fails="terraform apply -input=false plan", once=True)
    assert done.returncode == 0, done.stderr
    assert "Retrying once in 0 seconds" in done.stdout
    steps = [call.partition(" -")[0] for call in deployment.calls if not call.startswith("gcloud")]
    assert steps[-5:] == [f"terraform {step}" for step in ("apply", "plan", "show", "apply", "output")]


def test_last_step_is_retried_only_once(deployment: Deployment) -> None:
    done = deployment.run("--yes", "--retry-after=0", fails="terraform apply -input=false plan")
    assert done.returncode == 1
    assert deployment.calls.count("terraform apply -input=false plan") == 2


def test_deploys_with_the_real_terraform(minimal_deployment: Terraform, minimal: list[Document]) -> None:
    """Terraform can apply the registry alone, and plans the registry's name before it exists."""
    log = (minimal_deployment.repository / "deploy.log").read_text()
    assert "9 alerts, where Google charges for alerts" in log
    assert "/rest/blob/createFile/job.zip" in log
    assert minimal_deployment.output("output", "-raw", "worker_image") == DIGEST
    assert minimal_deployment.output("output", "-raw", "functions_image") == FUNCTIONS_DIGEST
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
