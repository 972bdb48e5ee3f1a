"""Terraform for the tests, where it is to be had with providers that reach no cloud."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest
from requirement import lacking
from terraform_program import Document, Terraform, copy_repository, resources


@pytest.fixture(scope="session")
def make_terraform(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Terraform]:
    """Each call: an initialised copy, with a state of its own."""
    if shutil.which("terraform") is None or not os.environ.get("TF_CLI_CONFIG_FILE"):
        lacking("terraform", "No terraform command with providers for offline use (TF_CLI_CONFIG_FILE).")

    def make() -> Terraform:
        copy = tmp_path_factory.mktemp("repository")
        copy_repository(copy)
        terraform = Terraform(copy)
        terraform.output("init", "-backend=false", "-input=false", "-no-color")
        return terraform

    return make


@pytest.fixture(scope="session")
def terraform(make_terraform: Callable[[], Terraform]) -> Terraform:
    return make_terraform()


@pytest.fixture(scope="session", params=["minimal", "production"])
def example(request: pytest.FixtureRequest, terraform: Terraform) -> list[Document]:
    """The resources that an example plans."""
    return resources(terraform.plan(f"-var-file=examples/{request.param}.tfvars"))


@pytest.fixture(scope="session")
def minimal(terraform: Terraform) -> list[Document]:
    return resources(terraform.plan("-var-file=examples/minimal.tfvars"))
