from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from http_server import Server, StartServer, run_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server with its default settings, shared by all tests: they must not mind what others store."""
    with run_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts a server of the test's own, with these settings."""
    with ExitStack() as running:

        def start(preparation: str = "", **settings: str) -> Server:
            return running.enter_context(run_server(tmp_path / "data", preparation, **settings))

        yield start
    shutil.rmtree(tmp_path / "data", ignore_errors=True)  # which may be large
