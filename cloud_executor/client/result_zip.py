"""Extraction of result files from their zip, into a folder and nowhere else."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from cloud_executor.client.errors import InvalidResult
from cloud_executor.client.local_file import write_whole

READ_BYTES = 1024 * 1024

_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)
"""Errors that zipfile raises for damaged zips; the last one is for an unknown compression method."""


def unpack(source: BinaryIO, folder: Path) -> set[Path]:
    """Extract the files below the folder, replacing files of the same names, and return their paths.

    Raises InvalidResult.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            # Check all names before writing the first file.
            paths = [_path(folder, member) for member in members]
            for member, path in zip(members, paths, strict=True):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, _contents(archive, member))
            return set(paths)
    except _DAMAGE as error:
        raise InvalidResult("The zip with the results is damaged: download it again.") from error


def _path(folder: Path, member: zipfile.ZipInfo) -> Path:
    name = PurePosixPath(member.filename)
    if name.is_absolute() or ".." in name.parts or not name.parts or _is_special(member):
        raise InvalidResult(f"The results contain {member.filename!r}, which cannot be stored inside a folder.")
    return folder / name


def _is_special(member: zipfile.ZipInfo) -> bool:
    """Whether the member is a device, or a link through which later files could leave the folder."""
    return stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG)


def _contents(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    with archive.open(member) as content:
        while chunk := content.read(READ_BYTES):
            yield chunk
