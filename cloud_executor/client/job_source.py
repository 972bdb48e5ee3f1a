"""What a user names as a job: a folder, or a zip, with an executor_config.json at its top."""

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
    """A zip that is ready to be sent."""

    name: str
    content: BinaryIO
    size: int


@contextmanager
def open_source(path: Path) -> Iterator[JobSource]:
    """The zip at this path, or of the folder there. Raises InvalidSource before anything is sent."""
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
        raise InvalidSource(f"There is no {CONFIG} in {folder}: it names the command to run.")
    with path.open("rb") as file:
        return file.read(LARGEST_CONFIG_BYTES)


def _config_in_zip(path: Path, zipped: BinaryIO) -> bytes:
    try:
        with zipfile.ZipFile(zipped) as archive, archive.open(CONFIG) as file:
            return file.read(LARGEST_CONFIG_BYTES)
    except KeyError:
        raise InvalidSource(f"There is no {CONFIG} at the top of {path}: it names the command to run.") from None
    # What zipfile cannot do, such as another compression, it says by NotImplementedError; of a password, RuntimeError.
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InvalidSource(f"{path} is neither a folder nor a zip that can be read.") from error


def _check_config(content: bytes) -> None:
    """What is wrong beyond this, the job's `error` tells."""
    try:
        config = json.loads(content)
    except ValueError as error:
        raise InvalidSource(f"{CONFIG} is not JSON: {error}.") from None
    if not isinstance(config, dict) or not isinstance(config.get("cmd"), str):
        raise InvalidSource(f'{CONFIG} must be a JSON object with a "cmd": the command to run.')
