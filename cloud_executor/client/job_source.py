"""The folder or zip, with an executor_config.json at its top level, that a user submits as a job."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cloud_executor.client.errors import InvalidSource
from cloud_executor.client.source_zip import write_zip

CONFIG = "executor_config.json"

LARGEST_CONFIG_BYTES = 1024 * 1024


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
    path = folder / CONFIG
    if not path.is_file():
        raise InvalidSource(f"{folder} has no {CONFIG}: add one that names the command to run.")
    with path.open("rb") as file:
        return file.read(LARGEST_CONFIG_BYTES)


def _config_in_zip(path: Path, zipped: BinaryIO) -> bytes:
    try:
        with zipfile.ZipFile(zipped) as archive, archive.open(CONFIG) as file:
            return file.read(LARGEST_CONFIG_BYTES)
    except KeyError:
        raise InvalidSource(
            f"{path} has no {CONFIG} at its top level: add one that names the command to run."
        ) from None
    # zipfile raises NotImplementedError for unknown compression methods and RuntimeError for encrypted files.
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InvalidSource(f"{path} is neither a folder nor a readable zip.") from error


def _check_config(content: bytes) -> None:
    """Check only the basics. The worker reports everything else in the job's `error`."""
    try:
        config = json.loads(content)
    except ValueError as error:
        raise InvalidSource(f"{CONFIG} is not valid JSON: {error}.") from None
    if not isinstance(config, dict) or not isinstance(config.get("cmd"), str):
        raise InvalidSource(f'{CONFIG} must be a JSON object with a string "cmd", the command to run.')
