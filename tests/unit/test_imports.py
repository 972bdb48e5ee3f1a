"""Dependencies between our packages point one way (docs/architecture.md: Layers)."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
TOPS = ("bench", "cloud_executor", "deploy", "functions", "local_stack", "worker_vm")
MODULES = sorted(path for top in TOPS for path in (PROJECT / top).rglob("*.py"))

CORE = ("cloud_executor.errors", "cloud_executor.model", "cloud_executor.ports")
PROCESS = (
    "cloud_executor.installation",
    "cloud_executor.version",
    "cloud_executor.json_logging",
    "cloud_executor.process",
)
HELPERS = (
    "cloud_executor.clock",
    "cloud_executor.delays",
    "cloud_executor.parallel",
    "cloud_executor.process.time_jumps",
)
USE_CASES = (*CORE, *HELPERS, "cloud_executor.access", "cloud_executor.blobs", "cloud_executor.jobs")
SERVER = (*USE_CASES, "cloud_executor.retention", *PROCESS, "cloud_executor.settings", "cloud_executor.composition")

ALLOWED: dict[str, tuple[str, ...]] = {
    "cloud_executor": ("cloud_executor.client",),
    "cloud_executor.errors": (),
    "cloud_executor.clock": (),
    "cloud_executor.delays": (),
    "cloud_executor.installation": (),
    "cloud_executor.version": (),
    "cloud_executor.parallel": (),
    "cloud_executor.process": ("cloud_executor.clock",),
    "cloud_executor.model": ("cloud_executor.errors",),
    "cloud_executor.ports": CORE,
    "cloud_executor.json_logging": CORE,
    "cloud_executor.settings": CORE,
    "cloud_executor.access": USE_CASES,
    "cloud_executor.blobs": USE_CASES,
    "cloud_executor.jobs": USE_CASES,
    "cloud_executor.retention": USE_CASES,
    "cloud_executor.backends": (*CORE, "cloud_executor.clock", "cloud_executor.delays", "cloud_executor.parallel"),
    "cloud_executor.composition": (*SERVER, "cloud_executor.backends"),
    "cloud_executor.zip_reader": ("cloud_executor.errors",),
    "cloud_executor.client": (
        "cloud_executor.delays",
        "cloud_executor.errors",
        "cloud_executor.model",
        "cloud_executor.zip_reader",
    ),
    # `executor up` starts the local stack, which is a sibling of the library. Nothing else points at it.
    # `executor token --local` opens the tokens, and `executor force-cancel` the job store.
    "cloud_executor.cli": (
        "cloud_executor.access",
        "cloud_executor.client",
        "cloud_executor.composition",
        "cloud_executor.errors",
        "cloud_executor.installation",
        "cloud_executor.model",
        "cloud_executor.process.stop_signals",
        "cloud_executor.settings",
        "cloud_executor.version",
        "local_stack.stack",
    ),
    "functions": SERVER,
    "worker_vm": (*SERVER, "cloud_executor.zip_reader"),
    "local_stack": SERVER,
    "bench": ("cloud_executor.process.stop_signals",),
    "deploy": (
        "cloud_executor.process.stop_signals",
        "cloud_executor.client",
        "cloud_executor.errors",
        "cloud_executor.model",
    ),
}
"""Imports between our packages: package -> the packages that its modules may import besides their own."""

BACKENDS = (
    "cloud_executor.backends.sqlite",
    "cloud_executor.backends.google.firestore",
    "cloud_executor.backends.google.storage",
)
"""Packages of one technology each: no other backend imports them."""

SHARED_BY_BACKENDS = (
    "cloud_executor.backends.bucket",
    "cloud_executor.backends.file_sync",
    "cloud_executor.backends.file_writing",
    "cloud_executor.backends.google.errors",
    "cloud_executor.backends.job_records",
    "cloud_executor.backends.job_terms",
    "cloud_executor.backends.lazy",
    "cloud_executor.backends.os_errors",
)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> Iterator[str]:
    """Every module of ours, and every package of others, that the file imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            for alias in node.names:
                yield f"{module}.{alias.name}" if is_module(f"{module}.{alias.name}") else module


def is_module(name: str) -> bool:
    path = PROJECT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


def is_below(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def package_of(module: str) -> str:
    """The longest entry of ALLOWED that holds the module."""
    return max((package for package in ALLOWED if is_below(module, (package,))), key=len)


def allowed(importer: str, imported: str) -> bool:
    package = package_of(importer)
    if is_below(imported, ("google",)):
        return is_below(importer, ("cloud_executor.backends.google", "cloud_executor.client.account.google_identity"))
    if is_below(imported, ("docker",)):
        return is_below(importer, ("worker_vm.worker.sandbox.container",))
    if imported.partition(".")[0] not in TOPS:
        return True
    if package == "cloud_executor.backends" and package_of(imported) == package:
        return is_below(imported, SHARED_BY_BACKENDS) or any(
            is_below(importer, (backend,)) and is_below(imported, (backend,)) for backend in BACKENDS
        )
    if package != "cloud_executor" and package_of(imported) == package:
        return True
    return is_below(imported, ALLOWED[package])


def test_imports_point_one_way(subtests: pytest.Subtests) -> None:
    for path in MODULES:
        with subtests.test(name_of(path)):
            importer = name_of(path)
            assert [imported for imported in imports_of(path) if not allowed(importer, imported)] == []


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("cloud_executor.model.jobs.job", "cloud_executor.ports"),
        ("cloud_executor.jobs.sweep", "cloud_executor.backends.files"),
        ("cloud_executor.backends.s3", "cloud_executor.backends.files"),
        ("cloud_executor.backends.files", "cloud_executor.backends.sqlite.database"),
        ("cloud_executor.client.client", "cloud_executor.jobs.clients"),
        ("functions.main", "worker_vm.worker.main"),
        ("functions.main", "cloud_executor.backends.files"),
        ("functions.main", "google.cloud.firestore"),
        ("worker_vm.worker.main", "local_stack.stack"),
    ],
)
def test_an_upward_import_is_found(importer: str, imported: str) -> None:
    assert not allowed(importer, imported)


def packages_below(*folders: str) -> set[str]:
    """The top-level packages that the modules in these folders import."""
    paths = (path for folder in folders for path in (PROJECT / folder).rglob("*.py"))
    return {imported.partition(".")[0] for path in paths for imported in imports_of(path)}


def test_the_model_does_no_io() -> None:
    imported = packages_below("cloud_executor/model")
    assert imported - sys.stdlib_module_names <= {"cloud_executor", "msgspec"}
    assert imported.isdisjoint(
        {"io", "os", "pathlib", "random", "secrets", "socket", "subprocess", "threading", "time", "uuid"}
    )


def test_the_client_imports_no_package_of_the_server() -> None:
    imported = packages_below("cloud_executor/client", "cloud_executor/cli")
    assert imported.isdisjoint({"flask", "functions_framework", "gunicorn", "msgspec", "werkzeug"})
