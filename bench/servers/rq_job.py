"""The job that rq's workers run."""

from __future__ import annotations

import subprocess


def echo(number: int) -> str:
    """Run the command of an echo job."""
    return subprocess.run(["echo", f"job {number}"], check=True, capture_output=True, text=True).stdout
