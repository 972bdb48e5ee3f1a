"""Result files in an empty folder, each under exactly its own path."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath

from cloud_executor.client.errors import InvalidResult
from cloud_executor.errors import os_reason

_WINDOWS_FORBIDS = frozenset('<>:"|?*\\') | {chr(code) for code in range(32)}
_OTHER_FOLDER = "choose a folder on another file system, or download the file separately"


class ResultTree:
    """Writes result files below a folder that was empty. Raises InvalidResult if a file cannot have its path there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = 0
        self._names: dict[str, set[str]] = {"": set()}
        """The names in each folder, by its path."""

    def __contains__(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        return path not in self._names and name in self._names.get(folder, ())

    def __len__(self) -> int:
        """Number of files."""
        return self._files

    def add(self, path: str, chunks: Iterable[bytes]) -> None:
        """Write a file. Raises InvalidResult."""
        check_path(path)
        folder, _, name = path.rpartition("/")
        try:
            self._make(folder, path)
            file = self._location(path).open("xb")
        except OSError as error:
            raise self._refused(path, path, error) from error
        except ValueError as error:  # lone surrogates
            raise InvalidResult(f"The result file {path!r} has a name that is not valid: download it alone.") from error
        self._names[folder].add(name)
        self._files += 1
        with file:
            for chunk in chunks:
                file.write(chunk)

    def close(self) -> None:
        """Raises InvalidResult if the file system gave a file or a folder another name."""
        for folder, names in self._names.items():
            missing = names.difference(os.listdir(self._location(folder)))
            if missing:
                path = f"{folder}/{min(missing)}".lstrip("/")
                raise InvalidResult(f"The file system here does not keep the name {path!r}: {_OTHER_FOLDER}.")

    def _location(self, path: str) -> Path:
        return self._folder.joinpath(path)

    def _make(self, folder: str, path: str) -> None:
        missing = []
        while folder not in self._names:
            missing.append(folder)
            folder = folder.rpartition("/")[0]
        for made in reversed(missing):
            try:
                self._location(made).mkdir()
            except OSError as error:
                raise self._refused(made, path, error) from error
            parent, _, name = made.rpartition("/")
            self._names[parent].add(name)
            self._names[made] = set()

    def _refused(self, refused: str, path: str, error: OSError) -> InvalidResult:
        """The error for a path at which a file or a folder could not be created, because of the file at `path`."""
        if error.errno not in (errno.EEXIST, errno.EISDIR, errno.ENOTDIR):
            return InvalidResult(f"The result file {path!r} cannot be stored here: {os_reason(error)}.")
        if refused in self or refused in self._names:
            return InvalidResult(f"The results contain both a file and a folder {refused!r}: download the file alone.")
        other = self._same_file(refused)
        return InvalidResult(f"The file system here cannot hold both {other!r} and {refused!r}: {_OTHER_FOLDER}.")

    def _same_file(self, path: str) -> str:
        """The path under which the file system's file or folder of this path was created."""
        folder, slash, _ = path.rpartition("/")
        for name in sorted(self._names.get(folder, ())):
            found = folder + slash + name
            if os.path.samefile(self._location(found), self._location(path)):
                return found
        return path


def check_path(path: str) -> None:
    """Raises InvalidResult if the path leads out of a folder, or no file on this operating system can have it."""
    parts = path.split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or "\0" in path:
        raise InvalidResult(f"The results contain {path!r}, which cannot be stored inside a folder.")
    if os.name == "nt" and any(map(_windows_forbids, parts)):
        raise InvalidResult(f"The results contain {path!r}, a name that Windows does not allow: download it alone.")


def _windows_forbids(name: str) -> bool:
    return not _WINDOWS_FORBIDS.isdisjoint(name) or name[-1] in ". " or PureWindowsPath(name).is_reserved()
