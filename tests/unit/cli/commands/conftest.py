"""A server in memory, which the commands use in this process."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
from command_output import Lines
from servers.fake_server import URL, FakeServer

from cloud_executor import Client
from cloud_executor.cli import connection
from cloud_executor.cli.commands import account
from cloud_executor.cli.main import run_command


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only pauses advance."""
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr("time.monotonic", lambda: sum(pauses))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in [name for name in os.environ if name.startswith("EXECUTOR_")]:
        monkeypatch.delenv(name)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    found = FakeServer()
    for module in (connection, account):
        monkeypatch.setattr(module, "Client", partial(Client, transport=found.transport))
    monkeypatch.setenv("EXECUTOR_URL", URL)
    return found


@pytest.fixture
def job(server: FakeServer) -> str:
    """A finished job."""
    assert run_command(["run", "--name", "first", "--", "echo", "hello"]) == 0
    return next(iter(server.jobs))


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Lines:
    """Function that returns the lines on standard output since the last call."""
    return lambda: capsys.readouterr().out.splitlines()
