"""Keep other processes of the same user from inspecting a process: a job without a container is such a process."""

from __future__ import annotations

import ctypes
import sys

_PR_SET_DUMPABLE = 4


def forbid_inspection() -> None:
    """Close this process's environment, memory, and descriptors in /proc, and ptrace, to all users but root.

    Children that do not start another program inherit it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
