"""Processes that tests start get default signal dispositions, also if the shell ignores signals (nohup, `&`)."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]

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
