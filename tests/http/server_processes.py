"""The processes of a running server, as seen from outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from stat import S_IWUSR

from bench.processes import tree


def resident_bytes(process: int) -> int:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


def files_being_written(root: int, folder: Path) -> set[Path]:
    """Files below the folder that the process or its descendants have open for writing."""
    return {path for path, mode in _open_files(root) if path.is_relative_to(folder) and mode & S_IWUSR}


def open_files(root: int, folder: Path) -> list[Path]:
    """Files below the folder that the process and its descendants have open."""
    return [path for path, _ in _open_files(root) if path.is_relative_to(folder)]


def _open_files(root: int) -> Iterator[tuple[Path, int]]:
    """Path and mode of each open file."""
    for process in tree(root):
        with suppress(OSError):  # the process has ended in the meantime
            for opened in Path(f"/proc/{process}/fd").iterdir():
                with suppress(OSError):  # the file has been closed in the meantime
                    yield opened.readlink(), opened.lstat().st_mode
