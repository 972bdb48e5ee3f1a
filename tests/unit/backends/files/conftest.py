"""A store of files, on a file system with and without unnamed files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cloud_executor.backends.files import FileObjectStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "blobs"


@pytest.fixture(params=["unnamed files", "files in wg-temp"])
def unnamed_files(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the file system supports unnamed files. If not, opening one fails as it does on such a file system."""
    unnamed = request.param == "unnamed files"
    actual = os.open

    def named_only(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return actual(path, flags, mode, dir_fd=dir_fd)

    if not unnamed:
        monkeypatch.setattr(os, "open", named_only)
    return unnamed


@pytest.fixture
def store(root: Path, unnamed_files: bool) -> FileObjectStore:
    return FileObjectStore(root)
