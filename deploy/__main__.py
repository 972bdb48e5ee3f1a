"""Deploys to a Google Cloud project: `make deploy PROJECT=my-project`.

This command does manually what cloudbuild.yaml does for a push: build the images, plan, and apply with the images'
digests. It rejects a plan that would destroy data, prints the estimated cost, and asks for confirmation. Until then, it
only enables the APIs that planning needs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click

from cloud_executor.process.stop_signals import reset_signals
from deploy import costs, plan_guard
from deploy.plan_guard import Deployment, Plan
from deploy.state import Backend

REPOSITORY = Path(__file__).parents[1]
CONFIGURATION = REPOSITORY / "terraform"

DEFAULT_REGION = "us-central1"
DEFAULT_NAME = "cloud-executor"

PROGRAMS = {
    "terraform": "Terraform creates the resources: https://developer.hashicorp.com/terraform/install",
    "gcloud": "The Google Cloud CLI provides your credentials: https://cloud.google.com/sdk/docs/install",
    "docker": "Docker builds the images: https://docs.docker.com/engine/install",
}

SIGN_IN = "You are not signed in. Run `gcloud auth login` and `gcloud auth application-default login`."
REQUIREMENTS = (
    (["docker", "info"], "Docker is not available. Start it, and make sure that `docker info` succeeds."),
    (["gcloud", "auth", "print-access-token"], SIGN_IN),
    (["gcloud", "auth", "application-default", "print-access-token"], SIGN_IN),
)

# Terraform needs these APIs to read the project and to enable the other APIs.
APIS = ("cloudresourcemanager.googleapis.com", "serviceusage.googleapis.com")

IMAGES = {"worker": "worker_vm/Dockerfile", "functions": "functions/Dockerfile"}

# The images need the registry. Google's service accounts are created here too: they take a few minutes to exist
# everywhere, and the images take about as long.
FIRST_TARGETS = (
    "module.cloud_executor.google_artifact_registry_repository.images",
    "module.cloud_executor.google_project_service_identity.agent",
)


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
@click.option(
    "--destroy",
    "destroyable",
    multiple=True,
    metavar="ADDRESS",
    help="Address of a bucket, database, secret, topic, registry, or account that the plan may delete.",
)
@click.option(
    "--retry-after",
    type=click.IntRange(0),
    default=60,
    show_default=True,
    help="Time to wait before the last step is retried, in seconds: new permissions take minutes to become effective.",
)
@click.option("--yes", is_flag=True, help="Skip the confirmation. A plan that destroys data is rejected nevertheless.")
def main(
    project: str,
    region: str | None,
    state_bucket: str | None,
    name: str | None,
    destroyable: tuple[str, ...],
    retry_after: int,
    yes: bool,
) -> None:
    """Deploy the code in this folder to Google Cloud."""
    reset_signals()
    _check_programs()
    given = {"project_id": project, "region": region, "name": name}
    variables = [f"-var={variable}={value}" for variable, value in given.items() if value is not None]
    deployment = _deployment(project, variables)

    def plan(file: str, *options: str) -> Plan:
        return _plan(deployment, destroyable, file, [*options, *variables])

    _run(["gcloud", "services", "enable", *APIS, f"--project={project}"])
    _terraform("init", "-input=false", "-reconfigure", *Backend(CONFIGURATION, deployment, state_bucket).prepare())
    whole = plan("plan")
    _print_costs(costs.resources_of(whole["planned_values"]["root_module"]))
    click.echo(f"The plan for {deployment}: {plan_guard.counts(whole)}.")
    if not yes:
        click.confirm(f"Deploy to the project {project}?", abort=True)
    plan("first-plan", *(f"-target={target}" for target in FIRST_TARGETS))
    _terraform("apply", "-input=false", "first-plan")
    registry = whole["planned_values"]["outputs"]["registry"]["value"]
    _run(["gcloud", "auth", "configure-docker", registry.partition("/")[0], "--quiet"])
    images = {name: _push_image(f"{registry}/{name}", file) for name, file in IMAGES.items()}
    final = [f"-var={name}_image={image}" for name, image in images.items()]
    plan("plan", *final)
    if _exit_code(["terraform", "apply", "-input=false", "plan"], CONFIGURATION) != 0:
        click.echo(f"\nSome permissions may not be effective yet. Retrying once in {retry_after} seconds ...\n")
        time.sleep(retry_after)
        plan("plan", *final)
        _terraform("apply", "-input=false", "plan")
    for image in images.values():  # the registry's clean-up keeps these
        _run(["gcloud", "artifacts", "docker", "tags", "add", image, f"{image.partition('@')[0]}:deployed", "--quiet"])
    click.echo("\nThe deployment is ready. Run a first job:\n")
    click.echo(_output(["terraform", "output", "-raw", "try_it"], CONFIGURATION))


def _check_programs() -> None:
    for program, sentence in PROGRAMS.items():
        if shutil.which(program) is None:
            raise NotReady(f"{program} is not installed. {sentence}")
    for command, sentence in REQUIREMENTS:
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            raise NotReady(sentence)


def _deployment(project: str, variables: Sequence[str]) -> Deployment:
    """The deployment that the options and Terraform's variable files select.

    Terraform evaluates only the variables, in a copy, because this must work before the backend is known.
    """
    with tempfile.TemporaryDirectory() as folder:
        for pattern in ("variables*.tf", "*.tfvars", "*.tfvars.json"):
            for file in CONFIGURATION.glob(pattern):
                shutil.copy(file, folder)
        command = ["terraform", "console", *variables]
        expression = "jsonencode({ region = var.region, name = var.name })\n"
        found = json.loads(json.loads(_output(command, Path(folder), expression)))
    return Deployment(project, found["region"] or DEFAULT_REGION, found["name"] or DEFAULT_NAME)


def _plan(deployment: Deployment, destroyable: Sequence[str], file: str, options: Sequence[str]) -> Plan:
    """Plan, and reject a plan that must not be applied."""
    _terraform("plan", "-input=false", f"-out={file}", *options)
    plan: Plan = json.loads(_output(["terraform", "show", "-json", file], CONFIGURATION))
    problem = plan_guard.problem(plan, deployment, destroyable)
    if problem is not None:
        raise click.ClickException(f"{problem} Nothing was changed by this plan.")
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


def _push_image(image: str, file: str) -> str:
    """Build and push an image, and return its name with its digest."""
    revision = _revision()
    tags = [f"{image}:{revision}", f"{image}:latest"]
    # The VMs are x86, and Cloud Run runs nothing else, even if this machine is not.
    build = ["docker", "build", "--platform=linux/amd64", f"--file={file}"]
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
    if _exit_code(command, folder) != 0:
        raise _failure(command)


def _exit_code(command: Sequence[str], folder: Path) -> int:
    return subprocess.run(command, cwd=folder, check=False).returncode


def _output(command: Sequence[str], folder: Path, standard_input: str | None = None) -> str:
    done = subprocess.run(command, cwd=folder, input=standard_input, stdout=subprocess.PIPE, text=True, check=False)
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
