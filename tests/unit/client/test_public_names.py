"""Test the names that users of the Python client import from `cloud_executor`."""

from __future__ import annotations

import subprocess
import sys

import pytest

import cloud_executor
from cloud_executor import client

SERVER_PACKAGES = {"flask", "functions_framework", "gunicorn", "msgspec", "werkzeug"}


def modules_after(statement: str) -> set[str]:
    """Run the statement in a new interpreter and return the modules that are then loaded."""
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    )


def test_the_package_offers_the_names_of_the_client() -> None:
    assert cloud_executor.__all__ == client.__all__
    for name in client.__all__:
        assert getattr(cloud_executor, name) is getattr(client, name)
    assert set(client.__all__) <= set(dir(cloud_executor))


def test_the_former_name_of_the_class_is_an_alias() -> None:
    assert cloud_executor.CloudExecutor is cloud_executor.Client


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'cloud_executor' has no attribute 'Nonsense'"):
        _ = cloud_executor.Nonsense  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"module 'cloud_executor\.client' has no attribute 'Nonsense'"):
        _ = client.Nonsense  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="cannot import name 'Nonsense'"):
        exec("from cloud_executor import Nonsense")  # noqa: S102 - an import statement, not a string of a user


def test_importing_the_package_does_not_load_the_client() -> None:
    loaded = modules_after("import cloud_executor; from cloud_executor import errors")
    assert {name for name in loaded if name.startswith("cloud_executor")} == {"cloud_executor", "cloud_executor.errors"}
    assert "httpx" not in loaded


def test_importing_the_client_does_not_load_the_server() -> None:
    loaded = modules_after("from cloud_executor import Client, JobInfo, NotFound")
    assert "cloud_executor.client.client" in loaded
    assert loaded.isdisjoint(SERVER_PACKAGES)


@pytest.mark.parametrize("statement", ["from cloud_executor import Client", "import cloud_executor.cli.commands.run"])
def test_the_client_for_asyncio_is_loaded_when_it_is_used(statement: str) -> None:
    unused = {"cloud_executor.client.async_client"}
    assert unused.isdisjoint(modules_after(statement))
    assert unused <= modules_after(f"{statement}\nfrom cloud_executor import AsyncClient")
