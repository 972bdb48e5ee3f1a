from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from emulators.projects import new_backends
from emulators.shared import GOOGLE
from http_server import Server, StartServer, run_server
from memory_folders import memory_folder

NewBackends = Callable[[], Mapping[str, str]]


@pytest.fixture(scope="session", params=["embedded", "emulated"])
def backends(request: pytest.FixtureRequest) -> NewBackends:
    """Function that returns the variables of a server with new backends: embedded, or Google's on emulators."""
    if request.param == "embedded":
        return dict
    addresses = [request.getfixturevalue(f"{service}_address") for service in GOOGLE]
    return lambda: {**new_backends(*addresses), "EXECUTOR_INLINE_LIMIT": str(2**40)}


@pytest.fixture(scope="session")
def server(backends: NewBackends) -> Iterator[Server]:
    """A server with default settings, shared by all tests; a test must tolerate the data of others."""
    with memory_folder() as folder, run_server(folder, backends=backends()) as running:
        yield running


@pytest.fixture
def start_server(tmp_path: Path, backends: NewBackends) -> Iterator[StartServer]:
    """Function that starts a server for one test, with these settings."""
    own_backends = backends()
    with ExitStack() as running:

        def start(preparation: str = "", **settings: str) -> Server:
            return running.enter_context(run_server(tmp_path / "data", preparation, own_backends, **settings))

        yield start
    shutil.rmtree(tmp_path / "data", ignore_errors=True)  # it may be large
