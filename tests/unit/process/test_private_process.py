"""Test that other processes of a user cannot inspect ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import ctypes, os
from cloud_executor.process.private_process import forbid_inspection
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)  # PR_GET_DUMPABLE
forbid_inspection()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)
if os.fork() == 0:
    print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)
    os._exit(0)
os.wait()
"""


def test_a_process_and_its_forks_cannot_be_inspected() -> None:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["1", "0", "0"]
