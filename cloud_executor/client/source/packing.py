"""A folder packed as a zip. The same files give the same bytes, and thus the same hash."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cloud_executor.client.errors import InvalidSource
from cloud_executor.client.source.ignore import Ignored
from cloud_executor.model.documents.config_document import CONFIG_FILE

READ_BYTES = 1024 * 1024

EARLIEST = (1980, 1, 1, 0, 0, 0)
"""Date of every entry: the earliest that a zip can store."""

_UNIX = 3


def write_zip(
    folder: Path | None, target: BinaryIO, ignored: Ignored | None = None, config: bytes | None = None
) -> int:
    """Pack everything in the folder that is not ignored, sorted by name, and return the number of files.

    Of the modes, only the executable bit is kept. Links remain links. Files are not compressed, because the bytes would
    then depend on the version of zlib. `config` replaces the folder's executor_config.json, and None for the folder is
    an empty one. Raises InvalidSource for entries that cannot be packed, so nothing is left out silently.
    """
    count = 0
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        if config is not None:
            archive.writestr(_member(CONFIG_FILE, stat.S_IFREG | 0o644), config)
            count += 1
        if folder is not None:
            for name, entry in folder_entries(folder, ignored):
                if config is None or name != CONFIG_FILE:
                    _add(archive, folder, name, entry)
                    count += not entry.is_dir(follow_symlinks=False)
    return count


def folder_entries(folder: Path, ignored: Ignored | None, prefix: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield everything below the folder that is not ignored, with its path there, parents first."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        name = prefix + entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        if ignored is not None and ignored.matches(name, is_folder=is_folder):
            continue
        yield name, entry
        if is_folder:
            yield from folder_entries(Path(entry.path), ignored, f"{name}/")


def _add(archive: zipfile.ZipFile, folder: Path, name: str, entry: os.DirEntry[str]) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        raise InvalidSource(f"The file name {shown} is not valid UTF-8: rename the file.") from None
    found = entry.stat(follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode):
        archive.writestr(_member(f"{name}/", stat.S_IFDIR | 0o755), b"")
    elif stat.S_ISLNK(found.st_mode):
        archive.writestr(_member(name, stat.S_IFLNK | 0o777), _inner_target(folder, name, os.readlink(entry.path)))
    elif stat.S_ISREG(found.st_mode):
        _add_file(archive, name, entry.path)
    else:
        raise InvalidSource(f"{name} is a device, a pipe, or a socket: only files, folders, and links can be packed.")


def _add_file(archive: zipfile.ZipFile, name: str, path: str) -> None:
    with open(path, "rb") as file:
        found = os.fstat(file.fileno())
        member = _member(name, stat.S_IFREG | (0o755 if found.st_mode & stat.S_IXUSR else 0o644))
        member.file_size = found.st_size  # determines whether the entry uses Zip64
        size = 0
        with archive.open(member, "w") as stored:
            while chunk := file.read(READ_BYTES):
                size += len(chunk)
                if size > found.st_size:
                    break
                stored.write(chunk)
        if size != found.st_size:
            raise InvalidSource(f"{name} was changed while it was being packed: try again when nothing writes to it.")


def _member(name: str, mode: int) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, EARLIEST)
    member.create_system = _UNIX
    member.external_attr = mode << 16
    return member


def _inner_target(folder: Path, name: str, target: str) -> bytes:
    """Return the target of a link. It must be relative and stay in the folder, which the worker requires too."""
    root = os.path.realpath(folder)
    reached = os.path.realpath(os.path.join(root, name))
    if os.path.isabs(target) or not (reached == root or reached.startswith(root + os.sep)):
        raise InvalidSource(f"{name} is a link that leads out of the folder: replace it with a copy of its target.")
    return os.fsencode(target)
