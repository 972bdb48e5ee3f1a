"""Imports point one way: functions, worker_vm, client -> blobs, jobs -> model, ports <- backends."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
OURS = ("bench", "cloud_executor", "functions", "worker_vm")
MODULES = sorted(path for folder in OURS for path in (PROJECT / folder).rglob("*.py"))

USE_CASES = {
    "cloud_executor.blobs",
    "cloud_executor.composed_zip",
    "cloud_executor.crc32_combine",
    "cloud_executor.job_log",
    "cloud_executor.jobs",
    "cloud_executor.parallel",
    "cloud_executor.uploads",
    "cloud_executor.zip_archive",
    "cloud_executor.zip_manifest",
}
SQLITE = {"cloud_executor.backends.sqlite", "cloud_executor.backends.sqlite_schema", "cloud_executor.backends.wake"}
GCS = {f"cloud_executor.backends.{name}" for name in ("gcs_faults", "gcs_reader", "gcs_upload")}
FIRESTORE = {"cloud_executor.backends.firestore_documents"}
FAULTS = {"cloud_executor.backends.google_faults", "cloud_executor.backends.os_faults"}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> Iterator[str]:
    """Every module of ours, and every package of others, that the file imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            names = [
                f"{module}.{alias.name}" if is_module(f"{module}.{alias.name}") else module for alias in node.names
            ]
        yield from names


def is_module(name: str) -> bool:
    path = PROJECT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


def allowed(importer: str, imported: str) -> bool:
    top, _, rest = imported.partition(".")
    if top == "google":
        return importer.startswith("cloud_executor.backends.") or importer == "worker_vm.worker.instance_group"
    if top == "docker":
        return importer.startswith("worker_vm.worker.sandbox.container")
    if top not in OURS:
        return True
    package = imported.split(".")[1] if rest else ""
    if importer.startswith("cloud_executor.model"):
        return package == "model"
    if importer == "cloud_executor.ports":
        return package == "model"
    if importer in USE_CASES:
        return package in ("model", "ports") or imported in USE_CASES
    if importer.startswith("cloud_executor.backends"):
        family = importer.removeprefix("cloud_executor.backends.").partition("_")[0]
        own = {"sqlite": SQLITE, "gcs": GCS, "firestore": FIRESTORE}.get(family, set())
        return package in ("model", "ports") or imported in FAULTS | own
    if importer.startswith("cloud_executor.client"):
        return package in ("client", "model") or (
            importer == "cloud_executor.client.command" and imported == "cloud_executor.local_stack.stack"
        )
    if importer in ("cloud_executor.settings", "cloud_executor.json_logging", "cloud_executor.stop_signals"):
        return package == "model"
    if importer == "cloud_executor.composition":
        return top == "cloud_executor" and package not in ("client", "local_stack")
    if importer.startswith("cloud_executor.local_stack"):
        return top == "cloud_executor" and package not in ("backends", "client")
    if importer.startswith("bench"):
        return top == "bench"
    assert importer.startswith(("functions", "worker_vm"))
    return top == importer.split(".")[0] or (top == "cloud_executor" and package not in ("backends", "client"))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    importer = name_of(path)
    assert [imported for imported in imports_of(path) if not allowed(importer, imported)] == []


def test_the_model_reaches_nothing_outside_of_the_process() -> None:
    needed = {
        imported.partition(".")[0]
        for path in (PROJECT / "cloud_executor" / "model").rglob("*.py")
        for imported in imports_of(path)
    }
    packages = needed - sys.stdlib_module_names - {"cloud_executor"}
    assert packages <= {"bracex", "msgspec", "wcmatch"}
    assert needed.isdisjoint(
        {"io", "os", "pathlib", "random", "secrets", "socket", "subprocess", "threading", "time", "uuid"}
    )


def test_the_client_needs_nothing_of_the_server() -> None:
    needed = {
        imported.partition(".")[0]
        for path in (PROJECT / "cloud_executor" / "client").rglob("*.py")
        for imported in imports_of(path)
    }
    assert needed.isdisjoint({"flask", "functions_framework", "gunicorn", "msgspec", "werkzeug"})
