"""Profiles, credentials, completion, and checks of the user's setup."""

from __future__ import annotations

import io
import json
import stat
from typing import Any

import httpx
import pytest
from command_output import Lines, said
from servers.fake_server import URL, FakeServer

from cloud_executor.cli.main import run_command
from cloud_executor.client.account.user_files import config_file


def test_profiles_are_stored_shown_and_deleted(
    server: FakeServer, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EXECUTOR_URL")
    monkeypatch.setattr("sys.stdin", io.StringIO("the token\n"))
    assert run_command(["login", URL, "--token-stdin"]) == 0
    assert run_command(["login", "http://lab.example", "--profile", "lab"]) == 0
    assert stat.S_IMODE(config_file().stat().st_mode) == 0o600
    assert server.requests[0].headers["x-api-token"] == "the token"
    assert "x-api-token" not in server.requests[-1].headers
    capsys.readouterr()
    assert run_command(["config", "--use", "default"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[:2] == [f"* default  {URL}", "  lab  http://lab.example  (no credentials)"]
    assert "the token" not in shown
    run_command(["workers"])
    run_command(["workers", "--profile", "lab"])
    assert [request.url.host for request in server.requests[-2:]] == ["server.example", "lab.example"]
    assert [request.headers.get("x-api-token") for request in server.requests[-2:]] == ["the token", None]
    assert run_command(["logout"]) == 0
    capsys.readouterr()
    assert run_command(["config", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["profiles"]) == ["lab"]


def test_login_checks_the_server_first(server: FakeServer, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_answer", lambda *_: httpx.Response(403, text="The token is wrong."))
    assert run_command(["login", URL]) == 2
    assert said(capsys) == "Error: The token is wrong."
    assert not config_file().exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, printed: Lines) -> None:
    assert run_command(["completion", shell]) == 0
    assert any("_EXECUTOR_COMPLETE" in line for line in printed())


def test_doctor_says_what_to_do(server: FakeServer, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = server._answer
    old = {"Date": "Fri, 01 Jan 2021 00:00:00 GMT"}
    monkeypatch.setattr(
        server,
        "_answer",
        lambda method, parts, *rest: (
            httpx.Response(200, text="Cloud Executor 0.0.1\n", headers=old)
            if parts == ["routes"]
            else answer(method, parts, *rest)
        ),
    )
    config_file().parent.mkdir(parents=True)
    config_file().write_text('{"current": "a", "profiles": {}}')
    config_file().chmod(0o644)
    assert run_command(["doctor", "--json"]) == 0
    found = {finding["check"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert found["server"]["level"] == "ok"
    assert (found["clock"]["level"], "ahead of the server's: synchronize" in found["clock"]["message"]) == (
        "warning",
        True,
    )
    assert found["version"]["message"] == "The server has 0.0.1; update the older of the two."
    assert found["profile"]["message"].endswith(f"run `chmod 600 {config_file()}`.")
    monkeypatch.setattr(server, "_answer", lambda *_: httpx.Response(403, text="The token is wrong."))
    assert run_command(["doctor"]) == 1
    assert "error    server: The token is wrong." in capsys.readouterr().out
