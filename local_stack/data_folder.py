"""The folder with the stack's data, which one stack at a time may use."""

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
    """Make the folder, and keep other stacks out while this lasts; the end of the process frees it.

    Raises InvalidDataFolder.
    """
    try:
        # The jobs' secrets are in there.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / LOCK_FILE).open("ab")
    except OSError as error:
        reason = os_reason(error)
        raise InvalidDataFolder(f"The data folder {folder} cannot be used: {reason}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InvalidDataFolder(
                f"Another `executor up` uses the data folder {folder}: stop it, or name another with --data."
            ) from None
        yield
