"""The processes of a running server, seen from outside."""

from __future__ import annotations

from pathlib import Path


def processes_below(root: int) -> set[int]:
    found = {root}
    for child in Path(f"/proc/{root}/task/{root}/children").read_text().split():
        found |= processes_below(int(child))
    return found


def resident_bytes(process: int) -> int:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024
