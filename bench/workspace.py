"""The benchmark's folders, its reproducible input files, and its notes for the table."""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import MIB
from bench.sizes import Sizes

PROJECT = Path(__file__).parent.parent
_PROGRAM_FOLDERS = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


class BenchmarkError(Exception):
    """A figure could not be measured."""


def program(name: str) -> str | None:
    """Path of an installed program, including those for administrators; None if it is not installed."""
    return shutil.which(name, path=_PROGRAM_FOLDERS)


@dataclass(slots=True)
class Workspace:
    """The temporary folder and the sizes of one run."""

    folder: Path
    sizes: Sizes
    notes: dict[str, None] = field(default_factory=dict)
    """Sentences to print below the table, in the order in which they were noted."""
    busy_cores: dict[str, float] = field(default_factory=dict)
    """Number of cores that other programs used when a case started, by the case's name."""
    _folders: int = 0

    def new_folder(self, name: str) -> Path:
        self._folders += 1
        folder = self.folder / f"{self._folders:03}-{name}"
        folder.mkdir()
        return folder

    def note(self, sentence: str) -> None:
        self.notes[sentence] = None

    def random_file(self, name: str, size_bytes: int) -> Path:
        """Return a file whose bytes depend only on its name; create it, and fsync it, on the first call."""
        path = self.folder / name
        if not path.exists():
            source = random.Random(name)  # noqa: S311 - not for secrets
            with path.open("wb") as file:
                for start in range(0, size_bytes, MIB):
                    file.write(source.randbytes(min(MIB, size_bytes - start)))
                file.flush()
                os.fsync(file.fileno())
        return path
