"""Where the benchmark works: folders, input files that are the same in every run, and notes for the table."""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import MIB
from bench.sizes import Sizes

PROJECT = Path(__file__).parent.parent
_SYSTEM_PROGRAMS = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


class BenchmarkError(Exception):
    """Something could not be measured."""


def program(name: str) -> str | None:
    """Where a program is, those for administrators included; None if it is not installed."""
    return shutil.which(name, path=_SYSTEM_PROGRAMS)


@dataclass(slots=True)
class Workplace:
    """One run's temporary folder and sizes."""

    folder: Path
    sizes: Sizes
    notes: dict[str, None] = field(default_factory=dict)  # sentences in the order in which they came up
    busy_cores: dict[str, float] = field(default_factory=dict)  # by case: used by other programs when it began
    _folders: int = 0

    def new_folder(self, name: str) -> Path:
        self._folders += 1
        folder = self.folder / f"{self._folders:03}-{name}"
        folder.mkdir()
        return folder

    def note(self, sentence: str) -> None:
        self.notes[sentence] = None

    def random_file(self, name: str, size_bytes: int) -> Path:
        """Bytes that depend on the name alone, on the disk before anything is measured; made once."""
        path = self.folder / name
        if not path.exists():
            source = random.Random(name)  # noqa: S311 - not for secrets
            with path.open("wb") as file:
                for start in range(0, size_bytes, MIB):
                    file.write(source.randbytes(min(MIB, size_bytes - start)))
                file.flush()
                os.fsync(file.fileno())
        return path
