"""The folder or zip, with an executor_config.json at its top level, that a user submits as a job."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cloud_executor.client.errors import InvalidSource
from cloud_executor.client.source_zip import write_zip
from cloud_executor.errors import Invalid
from cloud_executor.model.config_document import CONFIG_FILE, MAX_BYTES, read_document, similar_file
from cloud_executor.zip_reader.content import entry_content
from cloud_executor.zip_reader.directory import ZipEntry, open_directory
from cloud_executor.zip_reader.entry_names import entry_name, find_dos_encoding, inner_path
from cloud_executor.zip_reader.errors import DecoderMissing, NotAZip, ZipError


@dataclass(frozen=True, slots=True)
class JobSource:
    """A zip that is ready to upload."""

    name: str
    content: BinaryIO
    size: int


@contextmanager
def open_source(path: Path) -> Iterator[JobSource]:
    """Open the zip at this path, or pack the folder. Raises InvalidSource before anything is sent."""
    if path.is_dir():
        _check_config(_config_in_folder(path))
        with tempfile.TemporaryFile() as packed:
            write_zip(path, packed)
            yield JobSource(f"{path.resolve().name or 'job'}.zip", packed, packed.seek(0, 1))
    else:
        with path.open("rb") as zipped:
            config = _config_in_zip(path, zipped)
            if config is not None:
                _check_config(config)
            yield JobSource(path.name, zipped, zipped.seek(0, 2))


def _config_in_folder(folder: Path) -> bytes:
    path = folder / CONFIG_FILE
    if not path.is_file():
        folders = sorted(found.parent.name for found in folder.glob(f"*/{CONFIG_FILE}"))
        raise _missing(folder, [found.name for found in folder.iterdir()], folders)
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _config_in_zip(path: Path, zipped: BinaryIO) -> bytes | None:
    """None if only the worker can unpack it."""
    try:
        directory = open_directory(zipped)
        encoding = find_dos_encoding(directory.entries())
        config: ZipEntry | None = None
        names: list[str] = []
        folders: list[str] = []
        for entry in directory.entries():
            name = inner_path(entry_name(entry, encoding))
            folder, _, file = name.rpartition("/")
            if name == CONFIG_FILE:
                config = entry
            elif not folder:
                names.append(name)
            elif file == CONFIG_FILE and "/" not in folder:
                folders.append(folder)
        if config is None:
            raise _missing(path, names, folders)
        content = b""
        for chunk in entry_content(zipped, config, repr(CONFIG_FILE)):
            content += chunk
            if len(content) > MAX_BYTES:
                break
        return content
    except DecoderMissing:
        return None
    except NotAZip as error:
        raise InvalidSource(f"{path} is neither a folder nor a readable zip.") from error
    except ZipError as error:
        raise InvalidSource(f"{path} cannot be used: {error}") from error


def _check_config(content: bytes) -> None:
    """Check only the basics. The worker reports everything else in the job's `error`."""
    try:
        read_document(content)
    except Invalid as error:
        raise InvalidSource(str(error)) from None


def _missing(source: Path, names: Sequence[str], folders: Sequence[str]) -> InvalidSource:
    """The error for a source with these names at its top level, and the config in these folders."""
    near = similar_file(names)
    if near is None and folders:
        return InvalidSource(
            f"{source} has no {CONFIG_FILE} at its top level, but one in the folder {folders[0]!r}: "
            "use the contents of that folder, not the folder itself."
        )
    what_to_do = "add one that names the command to run" if near is None else f"rename {near} to {CONFIG_FILE}"
    return InvalidSource(f"{source} has no {CONFIG_FILE} at its top level: {what_to_do}.")
