"""Processes start with default signal dispositions, also if their parent ignores or blocks signals (nohup, `&`)."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]

PROGRAM = """
import conftest
import subprocess
print(subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout)
"""


def test_children_of_tests_do_not_ignore_signals_that_the_shell_ignores() -> None:
    ignored = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD)
    command = ["sh", "-c", 'trap "" HUP INT QUIT TERM CHLD; exec "$@"', "sh", sys.executable, "-c", PROGRAM]
    finished = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=60, check=False)
    mask = re.search(r"^SigIgn:\s*([0-9a-f]+)$", finished.stdout, re.MULTILINE)
    assert mask is not None, finished.stderr
    assert [number for number in ignored if int(mask[1], 16) & 1 << (number - 1)] == []


# Our programs -------------------------------------------------------------------------------------------------------

HOSTILE_PARENT = """
import os, signal, sys
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGINT}:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a program that inherits ignored and blocked signals."""

RESETS = """
import sys
from pathlib import Path
from cloud_executor.process.stop_signals import reset_signals
reset_signals()
print(Path("/proc/self/status").read_text())
"""


def masks(status: str) -> tuple[set[int], set[int]]:
    """The signals that a process ignores, and those that it blocks."""

    def members(name: str) -> set[int]:
        mask = re.search(rf"^{name}:\s*([0-9a-f]+)$", status, re.MULTILINE)
        assert mask is not None, status
        return {number for number in signal.valid_signals() if int(mask[1], 16) & 1 << (number - 1)}

    return members("SigIgn"), members("SigBlk")


def run_in_hostile_parent(*command: str) -> str:
    program = [sys.executable, "-c", HOSTILE_PARENT, sys.executable, *command]
    finished = subprocess.run(
        program, cwd=TESTS.parent, capture_output=True, text=True, timeout=60, check=False, restore_signals=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_a_program_resets_the_signals_that_its_parent_ignored_or_blocked() -> None:
    kept = {signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ}
    assert masks(run_in_hostile_parent("-c", RESETS)) == (kept, set())


@pytest.mark.parametrize(
    "module",
    [
        "bench.__main__",
        "cloud_executor.cli.demo",
        "cloud_executor.cli.main",
        "deploy.__main__",
        "functions.serve",
        "worker_vm.worker.main",
    ],
)
def test_every_program_resets_its_signals_first(module: str) -> None:
    script = f"""
import click, importlib, sys
import cloud_executor.process.stop_signals as signals
def reset():
    print("reset")
    sys.exit(0)
signals.reset_signals = reset
program = importlib.import_module({module!r})
sys.argv = ["program"] + {["--project", "p"] if module.startswith("deploy") else []!r}
program.main()
"""
    assert run_in_hostile_parent("-c", script) == "reset\n"
