"""From a project to a URL: `make deploy PROJECT=my-project`.

What cloudbuild.yaml does for a push, a person does by this: build the worker's image, plan, and apply with the image's
digest. It asks once, and says what that will cost. Until then it only switches on the APIs without which there is no
plan.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from deploy import costs

REPOSITORY = Path(__file__).parents[1]
CONFIGURATION = REPOSITORY / "terraform"
BACKEND = CONFIGURATION / "backend_override.tf"

NEEDED = {
    "terraform": "Terraform makes the resources: https://developer.hashicorp.com/terraform/install",
    "gcloud": "The Google Cloud CLI signs you in: https://cloud.google.com/sdk/docs/install",
    "docker": "Docker builds the worker's image: https://docs.docker.com/engine/install",
}

SIGN_IN = "You are not signed in: run `gcloud auth login` and `gcloud auth application-default login`."
READY = (
    (["docker", "info"], "Docker does not run, or you may not use it: start it, and see that `docker info` works."),
    (["gcloud", "auth", "print-access-token"], SIGN_IN),
    (["gcloud", "auth", "application-default", "print-access-token"], SIGN_IN),
)

# Without these Terraform can look at no project, and so neither plan nor switch the others on.
APIS = ("cloudresourcemanager.googleapis.com", "serviceusage.googleapis.com")

# The image needs the registry. Google's own accounts, once asked for, need the minutes that the image takes.
FIRST = ("google_artifact_registry_repository.images", "google_project_service_identity.agent")


class NotReady(click.ClickException):
    """This machine lacks something; nothing was done."""

    exit_code = 2


@click.command()
@click.option("--project", required=True, help="The project to deploy into.")
@click.option("--region", help="The region of everything.  [default: that of terraform.tfvars, or else us-central1]")
@click.option(
    "--state-bucket", help="Keep Terraform's state in this bucket, as Cloud Build does, and not in this folder."
)
@click.option("--name", help="What the names of all resources start with.  [default: cloud-executor]")
@click.option("--yes", is_flag=True, help="Do not ask.")
def main(project: str, region: str | None, state_bucket: str | None, name: str | None, yes: bool) -> None:
    """Deploy what is in this folder."""
    _check_programs()
    given = {"project_id": project, "region": region, "name": name}
    variables = [f"-var={variable}={value}" for variable, value in given.items() if value is not None]
    _run(["gcloud", "services", "enable", *APIS, f"--project={project}"])
    _init(state_bucket, name or "cloud-executor")
    plan = _plan(variables)
    _say_costs(plan["planned_values"]["root_module"]["resources"])
    if not yes:
        click.confirm(f"Deploy to the project {project}?", abort=True)
    _terraform("apply", "-auto-approve", "-input=false", *(f"-target={target}" for target in FIRST), *variables)
    image = _push_image(plan["planned_values"]["outputs"]["registry"]["value"])
    _plan([*variables, f"-var=worker_image={image}"])
    _terraform("apply", "-input=false", "plan")
    click.echo("\nIt is there. Try it:\n")
    click.echo(_answer(["terraform", "output", "-raw", "try_it"], CONFIGURATION))


def _check_programs() -> None:
    for program, sentence in NEEDED.items():
        if shutil.which(program) is None:
            raise NotReady(f"{program} is not installed. {sentence}")
    for command, sentence in READY:
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
    plan: dict[str, Any] = json.loads(_answer(["terraform", "show", "-json", "plan"], CONFIGURATION))
    return plan


def _say_costs(resources: Sequence[costs.Resource]) -> None:
    click.echo(f"\nWhat it will cost ({costs.AS_OF}; other regions differ)")
    click.echo("\nA month in which nobody does anything:")
    found = costs.idle(resources)
    _say(found)
    unknown = " and what is not known" if any(cost.dollars is None for cost in found) else ""
    click.echo(f"  {'together' + unknown:<56} {sum(cost.dollars or 0.0 for cost in found):8.2f}")
    click.echo("\n1,000 jobs of a minute each, and one of the lines about VMs:")
    _say(costs.thousand_jobs(resources))
    click.echo("\nOn top come large results, idle VMs, and what leaves Google's network or passes a load balancer.\n")


def _say(found: Sequence[costs.Cost]) -> None:
    for cost in found:
        price = "not known" if cost.dollars is None else f"{cost.dollars:8.2f}"
        click.echo(f"  {cost.what:<56} {price}")


def _push_image(registry: str) -> str:
    """The worker's image by its digest."""
    _run(["gcloud", "auth", "configure-docker", registry.partition("/")[0], "--quiet"])
    revision = _revision()
    image = f"{registry}/worker"
    tags = [f"{image}:{revision}", f"{image}:latest"]
    # VMs are x86, also where this machine is not.
    build = ["docker", "build", "--platform=linux/amd64", "--file=worker_vm/Dockerfile"]
    _run([*build, f"--build-arg=REVISION={revision}", *(f"--tag={tag}" for tag in tags), "."])
    for tag in tags:
        _run(["docker", "push", "--quiet", tag])
    digests = json.loads(_answer(["docker", "inspect", "--format={{json .RepoDigests}}", tags[0]], REPOSITORY))
    return next(str(digest) for digest in digests if digest.startswith(f"{image}@"))


def _revision() -> str:
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        return "unknown"
    return _answer(["git", "describe", "--always", "--dirty"], REPOSITORY)


def _terraform(*arguments: str) -> None:
    _run(["terraform", *arguments], CONFIGURATION)


def _run(command: Sequence[str], folder: Path = REPOSITORY) -> None:
    if subprocess.run(command, cwd=folder, check=False).returncode != 0:
        raise click.ClickException(
            f"`{' '.join(command[:2])}` failed; what it says is above. It is safe to begin anew."
        )


def _answer(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise click.ClickException(
            f"`{' '.join(command[:2])}` failed; what it says is above. It is safe to begin anew."
        )
    return done.stdout.strip()


if __name__ == "__main__":
    main()
