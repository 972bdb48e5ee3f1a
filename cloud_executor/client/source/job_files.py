"""Upload of a job's files: as one zip, or as an artifact that shares its files with other jobs."""

from __future__ import annotations

import io
import os
import stat
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType

from cloud_executor.client.errors import InvalidSource
from cloud_executor.client.source.job_source import JobSource, Source, open_source
from cloud_executor.client.source.packing import folder_entries
from cloud_executor.client.source.shared_inputs import INPUTS_FILE, inputs_of, linked_entries
from cloud_executor.client.transfer.artifact import Entry, create_artifact, files_of, store_files
from cloud_executor.client.transfer.upload import Source as Upload
from cloud_executor.client.transfer.upload import upload_stream
from cloud_executor.client.transport import Transport
from cloud_executor.model.documents.config_document import CONFIG_FILE
from cloud_executor.model.documents.javascript import parse_json

NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


class JobFiles:
    """The files of one job, or of many jobs that differ in their variables. It is thread-safe."""

    def __init__(
        self,
        transport: Transport,
        source: Source,
        *,
        many: bool = False,
        on_packed: Callable[[JobSource], None] | None = None,
    ) -> None:
        """`on_packed` is called before a zip is sent. Raises InvalidSource."""
        self._transport = transport
        self._source = source
        self._many = many
        self._on_packed = on_packed
        self._inputs = inputs_of(source.folder, source.inputs)
        self._lock = threading.Lock()
        if self._inputs and source.path is not None and source.folder is None:
            raise InvalidSource(f"{source.path} is a zip, which cannot have shared inputs: give a folder.")

    def upload(self, variables: Mapping[str, str] = NO_VARIABLES) -> str:
        """Store the files of one job, and return the blob's hash. Raises InvalidSource."""
        if self._inputs or (self._many and self._is_plain):
            return self._upload_artifact(variables)
        with open_source(self._source, variables) as packed:
            if self._on_packed is not None:
                self._on_packed(packed)
            packed.content.seek(0)
            return upload_stream(self._transport, packed.name, packed.content)

    def _upload_artifact(self, variables: Mapping[str, str]) -> str:
        config, _ = self._source.config(variables)
        self._check_command(config)
        upload_stream(self._transport, CONFIG_FILE, io.BytesIO(config))
        with self._lock:
            shared, artifacts = self._shared
        own = Upload(io.BytesIO(config), 0, len(config))
        entries = {**shared, CONFIG_FILE: (own.sha1(), "object", len(config))}
        return create_artifact(self._transport, self._source.name.removesuffix(".zip"), entries, artifacts)

    @cached_property
    def _shared(self) -> tuple[dict[str, Entry], list[str]]:
        """All files except the config, stored once, and the artifacts that some of them are from."""
        folder = self._source.folder
        found = [] if folder is None else files_of(self._transport, folder, self._source.ignored())
        files = store_files(self._transport, [file for file in found if file.path not in (CONFIG_FILE, INPUTS_FILE)])
        linked, artifacts = linked_entries(self._transport, self._inputs)
        both = sorted(files.keys() & linked.keys())
        if both:
            raise InvalidSource(f"The folder contains {both[0]}, which is also a shared input: remove one of them.")
        return files | linked, artifacts

    @cached_property
    def _is_plain(self) -> bool:
        """Whether the folder has only files, without modes, so that an artifact can hold them."""
        folder = self._source.folder
        if folder is None:
            return self._source.path is None
        for _, entry in folder_entries(folder, self._source.ignored()):
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                if not os.listdir(entry.path):
                    return False
            elif not stat.S_ISREG(mode) or mode & stat.S_IXUSR:
                return False
        return True

    def _check_command(self, config: bytes) -> None:
        """Raises InvalidSource if the command is a program in the folder, because an artifact has no modes."""
        document = parse_json(config)
        program = str(document["cmd"]) if isinstance(document, dict) else ""
        if "/" in program and self._source.folder is not None and os.access(self._source.folder / program, os.X_OK):
            raise InvalidSource(
                f"{program} is a program in the folder, but a job with shared inputs does not keep file modes: "
                f"start it with its interpreter, such as `sh {program}`."
            )
