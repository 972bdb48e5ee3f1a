"""Terraform for the tests, where it is to be had with providers that reach no cloud."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from requirement import lacking
from terraform_program import Document, Terraform, copy_repository, resources


@pytest.fixture(scope="session")
def make_terraform(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Terraform]:
    """Each call: an initialised copy, with a state of its own."""
    if shutil.which("terraform") is None:
        lacking("terraform", "There is no terraform command.")

    def make() -> Terraform:
        copy = tmp_path_factory.mktemp("repository")
        copy_repository(copy)
        terraform = Terraform(copy)
        done = terraform.run("init", "-backend=false", "-input=false", "-no-color")
        if done.returncode != 0:
            lacking("terraform", f"Terraform gets no providers here: {done.stderr.strip()[:500]}")
        return terraform

    return make


@pytest.fixture(scope="session")
def terraform(make_terraform: Callable[[], Terraform]) -> Terraform:
    """Nothing is applied in this one."""
    return make_terraform()


@pytest.fixture(scope="session")
def minimal(terraform: Terraform) -> list[Document]:
    """The resources that the example plans."""
    return resources(terraform.plan("-var-file=examples/minimal.tfvars"))


@pytest.fixture(scope="session")
def production(terraform: Terraform) -> list[Document]:
    return resources(terraform.plan("-var-file=examples/production.tfvars"))


@pytest.fixture(params=["minimal", "production"])
def example(request: pytest.FixtureRequest) -> list[Document]:
    """Each of them."""
    found: list[Document] = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def minimal_deployment(make_terraform: Callable[[], Terraform]) -> Terraform:
    """As only an apply resolves references: a deployment that was given a project and nothing else."""
    terraform = make_terraform()
    terraform.apply("-var-file=examples/minimal.tfvars")
    return terraform


@pytest.fixture(scope="session")
def production_deployment(make_terraform: Callable[[], Terraform]) -> Terraform:
    terraform = make_terraform()
    terraform.apply("-var-file=examples/production.tfvars")
    return terraform
