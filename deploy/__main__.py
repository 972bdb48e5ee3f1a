"""Deploys to a Google Cloud project: `make deploy PROJECT=my-project`.

This command does manually what cloudbuild.yaml does for a push: build the worker's image, plan, and apply with the
image's digest. It prints the estimated cost and asks for confirmation. Until then, it only enables the APIs that
planning needs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cloud_executor.stop_signals import reset_signals
from deploy import costs

REPOSITORY = Path(__file__).parents[1]
CONFIGURATION = REPOSITORY / "terraform"
BACKEND = CONFIGURATION / "backend_override.tf"

PROGRAMS = {
    "terraform": "Terraform creates the resources: https://developer.hashicorp.com/terraform/install",
    "gcloud": "The Google Cloud CLI provides your credentials: https://cloud.google.com/sdk/docs/install",
    "docker": "Docker builds the worker's image: https://docs.docker.com/engine/install",
}

SIGN_IN = "You are not signed in. Run `gcloud auth login` and `gcloud auth application-default login`."
REQUIREMENTS = (
    (["docker", "info"], "Docker is not available. Start it, and make sure that `docker info` succeeds."),
    (["gcloud", "auth", "print-access-token"], SIGN_IN),
    (["gcloud", "auth", "application-default", "print-access-token"], SIGN_IN),
)

# Terraform needs these APIs to read the project and to enable the other APIs.
APIS = ("cloudresourcemanager.googleapis.com", "serviceusage.googleapis.com")

# The image needs the registry. Google's service accounts are created here too: their permissions take a few minutes to
# become effective, and the image takes about as long.
FIRST_TARGETS = ("google_artifact_registry_repository.images", "google_project_service_identity.agent")


class NotReady(click.ClickException):
    """A requirement is not met on this machine. Nothing was changed."""

    exit_code = 2


@click.command()
@click.option("--project", required=True, help="Project to deploy to.")
@click.option("--region", help="Region of all resources.  [default: the region in terraform.tfvars, or us-central1]")
@click.option(
    "--state-bucket", help="Bucket for Terraform's state. Required if Cloud Build deploys too.  [default: a local file]"
)
@click.option("--name", help="Name that all resource names start with.  [default: cloud-executor]")
@click.option("--yes", is_flag=True, help="Skip the confirmation.")
def main(project: str, region: str | None, state_bucket: str | None, name: str | None, yes: bool) -> None:
    """Deploy the code in this folder to Google Cloud."""
    reset_signals()
    _check_programs()
    given = {"project_id": project, "region": region, "name": name}
    variables = [f"-var={variable}={value}" for variable, value in given.items() if value is not None]
    _run(["gcloud", "services", "enable", *APIS, f"--project={project}"])
    _init(state_bucket, name or "cloud-executor")
    plan = _plan(variables)
    _print_costs(plan["planned_values"]["root_module"]["resources"])
    if not yes:
        click.confirm(f"Deploy to the project {project}?", abort=True)
    _terraform("apply", "-auto-approve", "-input=false", *(f"-target={target}" for target in FIRST_TARGETS), *variables)
    image = _push_image(plan["planned_values"]["outputs"]["registry"]["value"])
    _plan([*variables, f"-var=worker_image={image}"])
    _terraform("apply", "-input=false", "plan")
    click.echo("\nThe deployment is ready. Run a first job:\n")
    click.echo(_output(["terraform", "output", "-raw", "try_it"], CONFIGURATION))


def _check_programs() -> None:
    for program, sentence in PROGRAMS.items():
        if shutil.which(program) is None:
            raise NotReady(f"{program} is not installed. {sentence}")
    for command, sentence in REQUIREMENTS:
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            raise NotReady(sentence)


def _init(state_bucket: str | None, name: str) -> None:
    options = []
    if state_bucket is not None:
        BACKEND.write_text('terraform {\n  backend "gcs" {}\n}\n')
        options = [f"-backend-config=bucket={state_bucket}", f"-backend-config=prefix={name}"]
    _terraform("init", "-input=false", *options)


def _plan(variables: Sequence[str]) -> dict[str, Any]:
    _terraform("plan", "-input=false", "-out=plan", *variables)
    plan: dict[str, Any] = json.loads(_output(["terraform", "show", "-json", "plan"], CONFIGURATION))
    return plan


def _print_costs(resources: Sequence[costs.Resource]) -> None:
    click.echo(f"\nEstimated cost in US dollars\n{costs.AS_OF}")
    click.echo("\nAn idle month:")
    items = costs.idle(resources)
    _print_items(items)
    unknown = ", without the unknown prices" if any(item.dollars is None for item in items) else ""
    click.echo(f"  {'total' + unknown:<56} {sum(item.dollars or 0.0 for item in items):8.2f}")
    click.echo("\n1,000 one-minute jobs, which use the VMs of one pool:")
    _print_items(costs.thousand_jobs(resources))
    click.echo("\nLarge results, idle VMs, and traffic to the internet or through a load balancer cost extra.\n")


def _print_items(items: Sequence[costs.Cost]) -> None:
    for item in items:
        price = " unknown" if item.dollars is None else f"{item.dollars:8.2f}"
        click.echo(f"  {item.name:<56} {price}")


def _push_image(registry: str) -> str:
    """Build and push the worker's image, and return its name with its digest."""
    _run(["gcloud", "auth", "configure-docker", registry.partition("/")[0], "--quiet"])
    revision = _revision()
    image = f"{registry}/worker"
    tags = [f"{image}:{revision}", f"{image}:latest"]
    # The VMs are x86, even if this machine is not.
    build = ["docker", "build", "--platform=linux/amd64", "--file=worker_vm/Dockerfile"]
    _run([*build, f"--build-arg=REVISION={revision}", *(f"--tag={tag}" for tag in tags), "."])
    for tag in tags:
        _run(["docker", "push", "--quiet", tag])
    digests = json.loads(_output(["docker", "inspect", "--format={{json .RepoDigests}}", tags[0]], REPOSITORY))
    return next(str(digest) for digest in digests if digest.startswith(f"{image}@"))


def _revision() -> str:
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        return "unknown"
    return _output(["git", "describe", "--always", "--dirty"], REPOSITORY)


def _terraform(*arguments: str) -> None:
    _run(["terraform", *arguments], CONFIGURATION)


def _run(command: Sequence[str], folder: Path = REPOSITORY) -> None:
    if subprocess.run(command, cwd=folder, check=False).returncode != 0:
        raise _failure(command)


def _output(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise _failure(command)
    return done.stdout.strip()


def _failure(command: Sequence[str]) -> click.ClickException:
    return click.ClickException(
        f"`{' '.join(command[:2])}` failed. Fix what it reports above and run this command again; "
        "existing resources are kept."
    )


if __name__ == "__main__":
    main()
