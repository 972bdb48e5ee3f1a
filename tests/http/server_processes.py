"""The processes of a running server, as seen from outside."""

from __future__ import annotations

from pathlib import Path
from stat import S_IWUSR


def processes_below(root: int) -> set[int]:
    found = {root}
    for child in Path(f"/proc/{root}/task/{root}/children").read_text().split():
        found |= processes_below(int(child))
    return found


def resident_bytes(process: int) -> int:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


def files_being_written(root: int, folder: Path) -> set[Path]:
    """Files below the folder that the process or its descendants have open for writing."""
    found = set()
    for process in processes_below(root):
        for opened in Path(f"/proc/{process}/fd").iterdir():
            try:
                path = opened.readlink()
            except FileNotFoundError:
                continue  # it has been closed in the meantime
            if path.is_relative_to(folder) and opened.lstat().st_mode & S_IWUSR:
                found.add(path)
    return found
