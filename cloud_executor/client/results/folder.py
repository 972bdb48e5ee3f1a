"""Result files that are collected first, and appear in a folder when all of them can."""

from __future__ import annotations

import errno
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

PREFIX = ".results-"
"""Beginning of the name of the hidden folder in which the files are collected."""


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yield an empty folder. At the end of the block, its files move to `folder` and replace files of the same names.

    If the block fails, or a file cannot have its name in `folder`, the folder is unchanged. Signals that would
    stop the program between two files wait until all of them have moved. Raises OSError.
    """
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=PREFIX) as name:
            staging = Path(name)
            yield staging
            _publish(staging, folder)
    except OSError as error:
        # The user knows only the folder.
        if error.filename is None or str(error.filename).startswith(str(folder / PREFIX)):
            error.filename = str(folder)
        raise


def _publish(staging: Path, folder: Path) -> None:
    files = [path.relative_to(staging) for path in staging.rglob("*") if not path.is_dir()]
    names = cache(_names_in)
    for file in files:
        _check_place(folder, file, names)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging / file, folder / file)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _names_in(folder: Path) -> frozenset[str]:
    """The names in a folder that files can be moved to. Raises OSError."""
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    return frozenset(os.listdir(folder))


def _check_place(folder: Path, file: Path, names: Callable[[Path], frozenset[str]]) -> None:
    """Raises OSError if a folder has the name of the file, or a file the name of one of its folders.

    Also if its folder cannot be written, or has one of its names in other letters, which the file system takes for the
    same name.
    """
    if (folder / file).is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(folder / file))
    for parent in file.parents:
        if (folder / parent).exists() and not (folder / parent).is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder / parent))
    names(next(folder / parent for parent in file.parents if (folder / parent).is_dir()))
    for path in (file, *file.parents[:-1]):
        if os.path.lexists(folder / path) and path.name not in names((folder / path).parent):
            reason = "the folder contains this name in other letters, which the file system cannot tell apart"
            raise FileExistsError(errno.EEXIST, reason, str(folder / path))
