"""Back up the data folder of `executor up` while it runs, and restore it: see docs/how-to/lab-server.md.

The backup has all blobs, and one copy of the database for each run. Blobs never change, so only new ones are copied.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

DATABASE = "executor.sqlite"
BLOBS = "blobs"
FOLDERS = ("wg-content", "wg-metadata")
"""Folders with blobs. The others contain only what the server can create again."""


class BackupFailed(Exception):
    """The message says what is wrong and what to do."""


def back_up(data: Path, backup: Path) -> Path:
    """Add the state of a data folder to a backup, and return the new copy of its database.

    The database is copied first and gets its name last, so that the blobs of each named copy are complete.
    """
    if not (data / DATABASE).is_file():
        raise BackupFailed(f"{data} has no {DATABASE}: name the folder of `executor up --data`.")
    backup.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (backup / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        unfinished = backup / "unfinished.sqlite"
        unfinished.unlink(missing_ok=True)
        with closing(sqlite3.connect(data / DATABASE)) as source, closing(sqlite3.connect(unfinished)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a write-ahead log next to it
        _copy_blobs(data / BLOBS, backup / BLOBS)
        _sync(unfinished)
        named = backup / f"executor-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}.sqlite"
        unfinished.rename(named)
        _sync(backup)
    return named


def restore(backup: Path, data: Path, database: Path | None = None) -> Path:
    """Create a data folder from a backup, and return the copy of the database that was used: by default the latest.

    The database is copied last, so a restore that did not finish can be repeated.
    """
    copies = sorted(backup.glob("executor-*.sqlite"))
    if not copies:
        raise BackupFailed(f"{backup} contains no backup: name the folder of an earlier backup.")
    chosen = database or copies[-1]
    if (data / DATABASE).exists():
        raise BackupFailed(f"{data} already contains {DATABASE}: move the folder away, or restore to another folder.")
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    _copy_blobs(backup / BLOBS, data / BLOBS)
    _copy(chosen, data / DATABASE)
    _sync(data)
    return chosen


def _copy_blobs(source: Path, target: Path) -> None:
    """Copy the blobs that the target lacks. A copy has its final name only once it is complete."""
    for folder in FOLDERS:
        for shard in sorted(path for path in _entries(source / folder) if path.is_dir()):
            copies = target / folder / shard.name
            copies.mkdir(parents=True, exist_ok=True)
            for file in [file for file in _entries(shard) if not (copies / file.name).exists()]:
                with suppress(FileNotFoundError):  # deleted since the folder was read
                    _copy(file, copies / file.name)
            _sync(copies)


def _entries(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())


def _copy(source: Path, target: Path) -> None:
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.copyfile(source, unfinished)
    _sync(unfinished)
    unfinished.rename(target)


def _sync(path: Path) -> None:
    """Make the file, or the names in the folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.backup", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="add the state of DATA to BACKUP; the server may run")
    create.add_argument("data", type=Path, metavar="DATA")
    create.add_argument("backup", type=Path, metavar="BACKUP")
    undo = commands.add_parser("restore", help="create the folder DATA from BACKUP; then start the server with it")
    undo.add_argument("backup", type=Path, metavar="BACKUP")
    undo.add_argument("data", type=Path, metavar="DATA")
    undo.add_argument("--database", type=Path, help="a copy of the database in BACKUP (default: the latest)")
    arguments = parser.parse_args()
    try:
        if arguments.command == "create":
            print(back_up(arguments.data, arguments.backup))  # noqa: T201 - the result of the command
        else:
            print(restore(arguments.backup, arguments.data, arguments.database))  # noqa: T201 - the result of the command
    except BackupFailed as error:
        print(error, file=sys.stderr)  # noqa: T201 - the result of the command
        return 1
    except (OSError, sqlite3.Error) as error:
        print(f"The {arguments.command} failed: {error}. Run it again.", file=sys.stderr)  # noqa: T201 - the result of the command
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
