"""The init process of a command's container, which reaps processes and passes signals on.

A Docker Engine has one, `docker-init`, but the engines of some systems come without it. The worker's image therefore
contains the same program, tini, without dependencies, and each container mounts a copy of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import cache

from docker.types import Mount

from cloud_executor.errors import os_reason
from worker_vm.worker.sandbox.interface import CommandNotStarted
from worker_vm.worker.work_folder import AttemptFolder

PROGRAM = "tini-static"

PATH = "/sbin/job-init"
"""Path of the program in the container."""


@cache
def own_program() -> str | None:
    """Path of the worker's own program; None if it has none: the engine's is used then."""
    return shutil.which(PROGRAM)


def init_mount(folder: AttemptFolder) -> Mount | None:
    """The mount of a copy of the worker's own program; None if it has none. Raises CommandNotStarted.

    The engine sees the files of the attempt, but not those of the worker's image.
    """
    program = own_program()
    if program is None:
        return None
    copy = folder.root / "init"
    try:
        shutil.copyfile(program, copy)
        copy.chmod(0o755)
    except OSError as error:
        raise CommandNotStarted(f"The worker could not write the init process: {os_reason(error)}.") from error
    return Mount(PATH, str(copy), type="bind", read_only=True)


def with_init(mount: Mount | None, command: Sequence[str]) -> list[str]:
    """The command as the container's process 1 starts it."""
    return [*([] if mount is None else [PATH, "--"]), *command]
