"""The waiting requests of this process, which may use half of its threads."""

from __future__ import annotations

import os

from cloud_executor.jobs.waits import Waits

THREADS = "THREADS"
"""Variable with the number of threads of a process; functions-framework reads it too."""


def _half_of_the_threads() -> int:
    # Without the variable, functions-framework has four threads per core.
    return int(os.environ.get(THREADS) or (os.cpu_count() or 1) * 4) // 2


WAITS = Waits(_half_of_the_threads)
