"""Run a module as a child of the supervisor: `python child.py LEVEL MODULE ARGUMENT...`.

Standard input is a pipe that only the supervisor can write to, and never does: its end is the supervisor's own, however
that came. The child then stops as if it had been told to. So a supervisor that is killed leaves nothing behind.
"""

from __future__ import annotations

import logging
import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path

STOP_SECONDS = 10.0
"""how long the child has to stop by itself"""


def main() -> None:
    level, module, *arguments = sys.argv[1:]
    threading.Thread(target=_end_with_supervisor, name="supervisor", daemon=True).start()
    logging.disable(int(level) - 1)
    # Last, so that it hides nothing; started by its file, this script need not be installed.
    sys.path.append(str(Path(__file__).parents[1]))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_supervisor() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
