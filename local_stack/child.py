"""Run a module as a child of the supervisor: `python child.py LEVEL MODULE ARGUMENT...`.

Standard input is a pipe to which only the supervisor could write, and it never does. The pipe closes when the
supervisor ends for any reason. The child then stops as after SIGTERM, so a killed supervisor leaves nothing behind.
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
"""Time, in seconds, for the child to stop before it is killed."""


def main() -> None:
    level, module, *arguments = sys.argv[1:]
    threading.Thread(target=_end_with_supervisor, name="supervisor", daemon=True).start()
    logging.disable(int(level) - 1)
    # This script runs from its file, so the project may not be on the path. Append it last so that it hides nothing.
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
