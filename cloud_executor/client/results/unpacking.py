"""Extraction of an artifact's files from its zip, under the paths that they have in the artifact."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from cloud_executor.client.errors import InvalidResult
from cloud_executor.client.results.tree import ResultTree, check_path
from cloud_executor.model.blobs.zip_names import zip_names

READ_BYTES = 1024 * 1024

_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)
"""Errors that zipfile raises for damaged zips; the last one is for an unknown compression method."""


def unpack(source: BinaryIO, tree: ResultTree, paths: Sequence[str] | None) -> list[str]:
    """Extract the files with these paths that the tree lacks; None: all files, under their names in the zip.

    Returns the paths that no entry belongs to without doubt, since WebGME's zips can contain a name several times.
    Raises InvalidResult.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            for member in members:
                if _is_special(member):
                    raise InvalidResult(f"The results contain {member.filename!r}, which is not a file.")
            count = Counter(member.filename for member in members)
            by_name = {member.filename: member for member in members if count[member.filename] == 1}
            if paths is None:
                paths = list(count)
                found = [by_name.get(name) for name in paths]
            else:
                found = [by_name.get(name) for name in zip_names(paths)]
            # Check all paths before writing the first file.
            for path in paths:
                check_path(path)
            for path, member_of_path in zip(paths, found, strict=True):
                if member_of_path is not None and path not in tree:
                    tree.add(path, _contents(archive, member_of_path))
            return [path for path, member_of_path in zip(paths, found, strict=True) if member_of_path is None]
    except _DAMAGE as error:
        raise InvalidResult("The zip with the results is damaged: download it again.") from error


def _is_special(member: zipfile.ZipInfo) -> bool:
    """Whether the member is a device, or a link through which later files could leave the folder."""
    return stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG)


def _contents(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    with archive.open(member) as content:
        while chunk := content.read(READ_BYTES):
            yield chunk
