"""The folder or zip, with an executor_config.json at its top level, that a user submits as a job."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cloud_executor.client.errors import InvalidSource
from cloud_executor.client.source_zip import write_zip
from cloud_executor.errors import Invalid
from cloud_executor.model.config_document import CONFIG_FILE, MAX_BYTES, read_document, similar_file


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
            _check_config(_config_in_zip(path, zipped))
            yield JobSource(path.name, zipped, zipped.seek(0, 2))


def _config_in_folder(folder: Path) -> bytes:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise _missing(folder, (found.name for found in folder.iterdir()))
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _config_in_zip(path: Path, zipped: BinaryIO) -> bytes:
    try:
        with zipfile.ZipFile(zipped) as archive:
            if CONFIG_FILE not in archive.namelist():
                raise _missing(path, archive.namelist())
            with archive.open(CONFIG_FILE) as file:
                return file.read(MAX_BYTES + 1)
    # zipfile raises NotImplementedError for unknown compression methods and RuntimeError for encrypted files.
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InvalidSource(f"{path} is neither a folder nor a readable zip.") from error


def _check_config(content: bytes) -> None:
    """Check only the basics. The worker reports everything else in the job's `error`."""
    try:
        read_document(content)
    except Invalid as error:
        raise InvalidSource(str(error)) from None


def _missing(source: Path, names: Iterable[str]) -> InvalidSource:
    near = similar_file(names)
    what_to_do = "add one that names the command to run" if near is None else f"rename {near} to {CONFIG_FILE}"
    return InvalidSource(f"{source} has no {CONFIG_FILE} at its top level: {what_to_do}.")
