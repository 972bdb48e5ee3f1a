"""A worker that kills itself with SIGKILL the first time it reaches a step: `dying_worker.py STEP WORKER-OPTION...`."""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from cloud_executor.blobs.store import BlobStore
from cloud_executor.jobs.attempts import Attempts
from worker_vm.worker import job_runner
from worker_vm.worker.command.command_runner import CommandRunner
from worker_vm.worker.main import main

INTO_THE_COMMAND_SECONDS = 0.5


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: object, name: str, action: Callable[[], object] = die) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        action()
        return original(*arguments, **named)

    setattr(owner, name, wrapped)


def after(owner: object, name: str) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        original(*arguments, **named)
        die()

    setattr(owner, name, wrapped)


STEPS: dict[str, Callable[[], None]] = {
    "claimed": lambda: after(Attempts, "claim"),
    "fetching": lambda: before(job_runner, "unpack_source"),
    "before the command": lambda: after(Attempts, "start"),
    "running": lambda: before(CommandRunner, "run", threading.Timer(INTO_THE_COMMAND_SECONDS, die).start),
    "archiving": lambda: after(BlobStore, "create_file"),
    "before the outcome": lambda: before(Attempts, "finish"),
    "handed over": lambda: after(Attempts, "hand_over"),
    "before the ack": lambda: after(Attempts, "finish"),
}

if __name__ == "__main__":
    step = sys.argv.pop(1)
    STEPS[step]()
    main()
