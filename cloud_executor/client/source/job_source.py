"""The folder, zip, or command that a user submits as a job, checked before anything is sent."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from cloud_executor.client.errors import InvalidSource
from cloud_executor.client.source.config import JobSettings, config_bytes
from cloud_executor.client.source.ignore import Ignored, pattern_of
from cloud_executor.client.source.packing import write_zip
from cloud_executor.errors import Invalid
from cloud_executor.model.documents.config_document import CONFIG_FILE, MAX_BYTES, read_document, similar_file


@dataclass(frozen=True, slots=True)
class Source:
    """What the user submits."""

    path: Path | None
    """A folder, or a zip; None: a command without files."""
    command: tuple[str, ...] = ()
    """Program and arguments, instead of those in the folder's executor_config.json."""
    settings: JobSettings = field(default_factory=lambda: JobSettings())
    inputs: Mapping[str, str | Path] = field(default_factory=dict)
    """Shared inputs, in addition to those of the folder's executor_inputs.json."""
    left_out: tuple[Path, ...] = ()
    """Folders that are not sent, such as the one for the results."""

    @property
    def folder(self) -> Path | None:
        """The folder with the job's files, if there is one."""
        return self.path if self.path is not None and self.path.is_dir() else None

    @property
    def name(self) -> str:
        if self.path is None:
            return "job.zip"
        return f"{self.path.resolve().name or 'job'}.zip" if self.folder is not None else self.path.name

    def config(self, variables: Mapping[str, str]) -> tuple[bytes, bool]:
        """The job's executor_config.json, and whether it is the folder's own. Raises InvalidSource."""
        content = None if self.command or self.folder is None else _config_in_folder(self.folder)
        if content is not None:
            _check_config(content)
        config = config_bytes(content, self.command, variables, **self.settings)
        return config, config == content

    def ignored(self) -> Ignored | None:
        """The files that are not sent. Raises InvalidSource."""
        if self.folder is None:
            return None
        return Ignored(self.folder, [line for path in self.left_out for line in pattern_of(path, self.folder)])


def source_of(
    source: Path | str | Sequence[str],
    folder: Path | str | None,
    inputs: Mapping[str, str | Path],
    settings: JobSettings,
) -> Source:
    """The source for the arguments of `Client.submit`. Raises InvalidSource."""
    if isinstance(source, str | Path):
        if folder is not None:
            raise InvalidSource("folder is for a command: give the command as a list of strings.")
        path = Path(source)
        if not path.exists():
            raise InvalidSource(f"{path} does not exist: give a folder, a zip, or a command as a list of strings.")
        return Source(path, (), settings, inputs)
    command = tuple(source)
    if not command:
        raise InvalidSource("The command is empty: give the program and its arguments.")
    files = None if folder is None else Path(folder)
    if files is not None and not files.is_dir():
        raise InvalidSource(f"{files} is not a folder: give one with the command's files.")
    return Source(files, command, settings, inputs)


@dataclass(frozen=True, slots=True)
class JobSource:
    """A zip that is ready to upload."""

    name: str
    content: BinaryIO
    size: int
    left_out: Sequence[str] = ()
    """Files and folders that were not packed."""


@contextmanager
def open_source(source: Source, variables: Mapping[str, str] = MappingProxyType({})) -> Iterator[JobSource]:
    """Open the zip, or pack the folder. Raises InvalidSource before anything is sent."""
    if source.path is None or source.folder is not None:
        config, is_own = source.config(variables)
        ignored = source.ignored()
        with tempfile.TemporaryFile() as packed:
            write_zip(source.folder, packed, ignored, None if is_own else config)
            yield JobSource(source.name, packed, packed.seek(0, 1), ignored.left_out if ignored is not None else ())
        return
    if source.command or variables or any(value is not None and value != {} for value in source.settings.values()):
        raise InvalidSource(f"{source.path} is a zip, which is sent unchanged: unpack it and give the folder.")
    with source.path.open("rb") as zipped:
        found = _config_in_zip(source.path, zipped)
        if found is not None:
            _check_config(found)
        yield JobSource(source.name, zipped, zipped.seek(0, 2))


def _config_in_folder(folder: Path) -> bytes:
    path = folder / CONFIG_FILE
    if not path.is_file():
        folders = sorted(found.parent.name for found in folder.glob(f"*/{CONFIG_FILE}"))
        raise _missing(folder, [found.name for found in folder.iterdir()], folders)
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _config_in_zip(path: Path, zipped: BinaryIO) -> bytes | None:
    """None if only the worker can unpack it."""
    # Imported here, because folders and commands do not need it.
    from cloud_executor.zip_reader.content import entry_content
    from cloud_executor.zip_reader.directory import ZipEntry, open_directory
    from cloud_executor.zip_reader.entry_names import entry_name, find_dos_encoding, inner_path
    from cloud_executor.zip_reader.errors import DecoderMissing, NotAZip, ZipError

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
