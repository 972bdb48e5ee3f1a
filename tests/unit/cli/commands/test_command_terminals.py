"""Commands on a terminal: questions, widths, and progress bars."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from command_output import Terminal
from servers.fake_server import FakeServer

from cloud_executor.cli.main import run_command
from cloud_executor.cli.output.progress_bars import ProgressBars
from cloud_executor.client.progress import Progress


@pytest.mark.parametrize(
    ("answers", "signals", "status", "sentence"),
    [
        ("c\n", 1, "CANCELED", "Canceled the job."),
        ("d\n", 1, "CREATED", "The job continues. `executor logs -f {job}` follows it."),
        ("what\nw\nd\n", 2, "CREATED", "The job continues. `executor logs -f {job}` follows it."),
        ("", 1, "CANCELED", "Canceled the job."),
    ],
)
def test_ctrl_c_asks_on_a_terminal(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, answers: str, signals: int, status: str, sentence: str
) -> None:
    errors = Terminal()
    monkeypatch.setattr("sys.stderr", errors)
    monkeypatch.setattr("sys.stdin", Terminal(answers))
    server.ending = {}
    info = server._info

    def interrupt(job: str) -> dict[str, Any]:
        if server.polls[job] < signals:
            server.polls[job] += 1
            os.kill(os.getpid(), signal.SIGINT)
        return info(job)

    server._info = interrupt  # type: ignore[method-assign]
    assert run_command(["run", "--", "true"]) == 130
    ((job, document),) = server.jobs.items()
    assert document["status"] == status
    assert errors.getvalue().splitlines()[-1] == sentence.format(job=job)
    assert errors.getvalue().count("Cancel the job (c)") == answers.count("\n") + (not answers)


def test_a_list_on_a_narrow_terminal_has_no_workers(
    server: FakeServer, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for columns, shown in (("80", False), ("120", True)):
        output = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", output)
            patch.setenv("COLUMNS", columns)
            assert run_command(["list"]) == 0
        header, row = output.getvalue().splitlines()
        assert ("worker" in header) is shown
        assert ("created" in header) and ("name" in header) and (job in row) is shown
        assert row.startswith(job[:12]) and "SUCCESS" in row


def test_large_files_have_progress_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = Terminal()
    monkeypatch.setattr("sys.stderr", errors)
    bars = ProgressBars()
    bars(Progress("Uploading", "small", 1, 100))
    assert errors.getvalue() == ""
    for done in (1, 5_000_000, 9_000_000):
        bars(Progress("Uploading", "large.bin", done, 9_000_000))
    assert "Uploading large.bin" in errors.getvalue()
    assert bars._bars is None  # nothing is left on the screen


def test_a_reader_that_needs_no_more_is_no_error(
    server: FakeServer, job: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    capsys.readouterr()

    def broken(*_: object, **__: object) -> None:
        raise BrokenPipeError

    discarded: list[bool] = []
    monkeypatch.setattr("click.echo", broken)
    monkeypatch.setattr("cloud_executor.cli.output.messages.discard_output", lambda: discarded.append(True))
    assert run_command(["list"]) == 0
    assert (discarded, capsys.readouterr().err) == ([True], "")
