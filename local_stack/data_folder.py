"""The folder with the stack's data. Only one stack can use it at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloud_executor.errors import Invalid, os_reason

LOCK_FILE = "executor-up.lock"


class InvalidDataFolder(Invalid):
    """The data folder cannot be used."""


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Create the folder and lock it inside the block. The lock ends with the process at the latest.

    Raises InvalidDataFolder.
    """
    try:
        # The folder contains the jobs' secrets.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / LOCK_FILE).open("ab")
    except OSError as error:
        reason = os_reason(error)
        raise InvalidDataFolder(
            f"The data folder {folder} cannot be used: {reason}. Use another folder with --data."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InvalidDataFolder(
                f"Another `executor up` is using the data folder {folder}: stop it, or use another folder with --data."
            ) from None
        yield
