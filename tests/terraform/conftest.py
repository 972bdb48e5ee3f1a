"""Fixtures that run Terraform, if it has providers that call no cloud API."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_programs import Deployment, write_programs
from requirement import lacking
from terraform_program import MODULE, REPOSITORY, VARIABLES, Document, Terraform, copy_repository


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "xdist_group(name): run the tests of this group in the same process")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tests that share a deployment in the same process. The first of them needs time to create it."""
    for item in items:
        for deployment in ("minimal", "production"):
            fixtures = getattr(item, "fixturenames", [])
            if f"{deployment}_deployment" in fixtures or ("example" in fixtures and f"[{deployment}]" in item.name):
                item.add_marker(pytest.mark.xdist_group(f"terraform-{deployment}"))
                item.add_marker(pytest.mark.timeout(600))


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


@pytest.fixture(scope="session")
def make_terraform(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Terraform]:
    """Create an initialized copy of the configuration, with its own state."""
    if shutil.which("terraform") is None:
        lacking("terraform", "The terraform command is not installed.")

    def make() -> Terraform:
        copy = tmp_path_factory.mktemp("repository")
        copy_repository(copy)
        terraform = Terraform(copy)
        done = terraform.run("init", "-backend=false", "-input=false", "-no-color")
        if done.returncode != 0:
            lacking("terraform", f"Terraform's providers are not available: {done.stderr.strip()[:500]}")
        return terraform

    return make


@pytest.fixture(scope="session")
def terraform(make_terraform: Callable[[], Terraform]) -> Terraform:
    """A configuration without a state."""
    return make_terraform()


@pytest.fixture(scope="session")
def deployed_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which `python -m deploy` runs, with the real terraform."""
    programs = tmp_path_factory.mktemp("programs")
    write_programs(programs, "gcloud", "docker")
    return {
        **os.environ,
        **VARIABLES,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "CALLS": f"{programs}/calls",
        "FAILS": "",
    }


@pytest.fixture(scope="session")
def minimal_deployment(make_terraform: Callable[[], Terraform], deployed_environment: dict[str, str]) -> Terraform:
    """A deployment by `make deploy` with only a project. `deploy.log` has its output."""
    terraform = make_terraform()
    shutil.copytree(REPOSITORY / "deploy", terraform.repository / "deploy")
    done = subprocess.run(
        [sys.executable, "-m", "deploy", "--project", "my-project", "--yes"],
        cwd=terraform.repository,
        env=deployed_environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (terraform.repository / "deploy.log").write_text(done.stdout)
    return terraform


@pytest.fixture(scope="session")
def minimal(minimal_deployment: Terraform) -> list[Document]:
    """Resources of the minimal deployment. Only an applied configuration has resolved references."""
    return minimal_deployment.resources()


@pytest.fixture(scope="session")
def production_deployment(make_terraform: Callable[[], Terraform]) -> Terraform:
    """The example examples/production.tfvars."""
    terraform = make_terraform()
    terraform.output("apply", "-auto-approve", "-input=false", "-no-color", "-var-file=examples/production.tfvars")
    return terraform


@pytest.fixture(scope="session")
def production(production_deployment: Terraform) -> list[Document]:
    """Resources of the production deployment."""
    return production_deployment.resources()


@pytest.fixture(params=["minimal", "production"])
def example(request: pytest.FixtureRequest) -> list[Document]:
    """Resources of each of the two deployments."""
    resources: list[Document] = request.getfixturevalue(request.param)
    return resources


@pytest.fixture(scope="session")
def variables_only(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """A configuration with only the declarations of variables, which needs no providers."""
    if shutil.which("terraform") is None:
        lacking("terraform", "The terraform command is not installed.")
    terraform = Terraform(tmp_path_factory.mktemp("variables"))
    terraform.folder.mkdir()
    for file in MODULE.glob("variables*.tf"):
        shutil.copy(file, terraform.folder)
    return terraform
