"""How pytest-xdist distributes the tests over processes: slow folders first, and expensive fixtures once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

LONGEST = ("images", "containers", "server-emulated", "dashboard", "outages")
"""The groups that take minutes, which start first."""

FOLDERS = ("e2e", "terraform", "worker", "contract", "http", "unit")
"""The folders of tests, the slowest first: the fast tests fill the gaps at the end."""

LONGEST_ID = 60
"""Maximum length of a parameter that is shown in the name of its test, in characters."""


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A short id for a long parameter: each process sends all names of tests to the main process."""
    return f"{argname} of {len(val)}" if isinstance(val, str | bytes) and len(val) > LONGEST_ID else None


def pytest_itemcollected(item: pytest.Item) -> None:
    if (group := _group(item)) is not None:
        item.add_marker(pytest.mark.xdist_group(group))


def _group(item: pytest.Item) -> str | None:
    """Name of the group of tests that run in one process; None if the test may run in any."""
    fixtures = set(getattr(item, "fixturenames", ()))
    callspec = getattr(item, "callspec", None)
    parameters = {value for value in callspec.params.values() if isinstance(value, str)} if callspec else set()
    backends = "emulated" if "emulated" in parameters else "embedded"
    folder, file = _folder(item), item.path.stem
    if folder == "unit":
        return file
    if file == "test_images":
        return "images"
    if "engine_address" in fixtures or "container" in parameters:
        return "containers"
    if "clean_environment" in fixtures and folder != "terraform":
        return "deployed"
    if "browser" in fixtures:
        return "dashboard"
    if "outages" in fixtures:
        return "outages"
    if "stack" in fixtures and folder == "e2e":
        return f"stack-{backends}"
    if "server" in fixtures or file == "test_transcript":
        return f"server-{backends}"
    if file in ("test_webgme_clients", "test_webgme_site"):
        return file
    return None


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(Path(__file__).parent).parts[0]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=_position)


def _position(item: pytest.Item) -> tuple[int, int]:
    group = _group(item)
    return LONGEST.index(group) if group in LONGEST else len(LONGEST), FOLDERS.index(_folder(item))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> object:
    """End what the tests of a group share, such as a stack, with the last of them: even idle, it takes CPU time."""
    if nextitem is None or not hasattr(item.config, "workerinput") or _group(item) in (None, _group(nextitem)):
        return None
    runner: Any = item.config.pluginmanager.get_plugin("runner")
    # pytest ends all fixtures if it knows of no next test.
    return runner.pytest_runtest_protocol(item, None)


def pytest_configure(config: pytest.Config) -> None:
    # The scheduler would start with the groups that have the most tests, which are fast.
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes per core for `-n auto`: tests wait for other processes, timers, and disks."""
    return 2 * (os.cpu_count() or 1)
