"""`executor_config.json`: the command that a job runs, and the results that it keeps
(docs/protocol.md: executor_config.json).

WebGME's fields mean what they mean there; `timeout`, `env`, `image`, `resources`, and `retries` are this project's own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Self

from cloud_executor.errors import Invalid
from cloud_executor.model.documents import javascript
from cloud_executor.model.documents.config_document import CONFIG_FILE, program, read_document
from cloud_executor.model.documents.environment import argument, environment
from cloud_executor.model.documents.json_fields import (
    MAX_TIMER,
    JsonFields,
    duration,
    finite_number,
    json_list,
    json_object,
    string,
    strings,
    whole_number,
)
from cloud_executor.model.patterns.minimatch import MAX_SIZE, ResultPatterns

MAX_RETRIES = 100
MAX_ARTIFACTS = 1000
MIN_MEMORY_MIB = 16
"""Least memory with which a container engine starts a container."""
MIN_CPUS = 0.01
MAX_IMAGE_LENGTH = 512

_IMAGE = re.compile(r"[A-Za-z0-9][\w.:/@+-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class ResultArtifact:
    """Result files that are saved as one artifact."""

    name: str
    """Key in the job's `resultHashes`; the blob is named `<name>.zip`."""
    patterns: ResultPatterns


@dataclass(frozen=True, slots=True)
class ExecutorConfig:
    """The command of a job. All strings can be encoded in UTF-8, and `cmd`, `args`, and `env` contain no NUL."""

    cmd: str
    """Program: a name that is looked up in PATH, or a path relative to the job's folder."""
    args: tuple[str, ...]
    """Arguments, passed without a shell."""
    result_artifacts: tuple[ResultArtifact, ...]
    """Artifacts with unique names."""
    output_interval_ms: int | None
    """Interval between output segments while the command runs, in milliseconds; None: not by time."""
    output_segment_lines: int | None
    """Number of lines that complete an output segment; None: not by lines."""
    timeout: timedelta | None
    """Time limit of the command; None: the pool's."""
    env: Mapping[str, str]
    """Variables added to the command's environment."""
    image: str | None
    """Image of the job's container; None: the pool's."""
    cpus: float | None
    """CPU limit; None: the pool's."""
    memory_mib: int | None
    """Memory limit, in MiB; None: the pool's."""
    retries: int | None
    """Number of times that the job runs again after a lost attempt; None: as many as the settings allow."""

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Parse the file. Raises Invalid with a sentence that names the field; unknown fields are ignored."""
        document = read_document(raw)
        try:
            return cls._read(document)
        except Invalid as error:
            raise Invalid(f"{CONFIG_FILE}: {error}") from None

    @classmethod
    def _read(cls, document: Mapping[str, object]) -> Self:
        fields = JsonFields(document)
        truthy = JsonFields(javascript.truthy_fields(document))
        resources = JsonFields(fields.optional("resources", json_object) or {}, "resources")
        return cls(
            cmd=fields.required("cmd", program),
            args=truthy.optional("args", _arguments) or (),
            result_artifacts=fields.required("resultArtifacts", _artifacts),
            output_interval_ms=truthy.optional("outputInterval", _segment_limit),
            output_segment_lines=truthy.optional("outputSegmentSize", _segment_limit),
            timeout=fields.optional("timeout", partial(duration, unit=timedelta(seconds=1))),
            env=fields.optional("env", environment) or {},
            image=fields.optional("image", _image),
            cpus=resources.optional("cpus", _cpus),
            memory_mib=resources.optional("memoryMiB", partial(whole_number, least=MIN_MEMORY_MIB, most=MAX_TIMER)),
            retries=fields.optional("retries", partial(whole_number, least=0, most=MAX_RETRIES)),
        )


def _arguments(path: str, value: object) -> tuple[str, ...]:
    arguments = map(javascript.to_string, json_list(path, value))
    return tuple(argument(f"{path}[{index}]", given) for index, given in enumerate(arguments))


def _artifacts(path: str, value: object) -> tuple[ResultArtifact, ...]:
    if isinstance(value, dict):
        # WebGME's worker accepts any object here, and finds no artifacts in one that is not a list.
        return ()
    by_name: dict[str, ResultArtifact] = {}
    size = 0
    for index, element in enumerate(json_list(path, value)):
        artifact = _artifact(f"{path}[{index}]", element)
        size += artifact.patterns.size
        if size > MAX_SIZE:
            raise Invalid(f"The patterns in {path} expand to too much in total; use fewer or simpler ones.")
        # If two artifacts share a name, the last one wins.
        by_name[artifact.name] = artifact
        if len(by_name) > MAX_ARTIFACTS:
            raise Invalid(f"{path} has more than {MAX_ARTIFACTS} artifacts; put more files into each.")
    return tuple(by_name.values())


def _artifact(path: str, value: object) -> ResultArtifact:
    fields = JsonFields(json_object(path, value), path)
    name = javascript.to_well_formed(fields.required("name", string))
    return ResultArtifact(name, fields.optional("resultPatterns", _patterns) or ResultPatterns([]))


def _patterns(path: str, value: object) -> ResultPatterns:
    patterns = strings(path, value) if isinstance(value, list) else []
    try:
        return ResultPatterns(patterns)
    except Invalid as error:
        raise Invalid(f"{path}: {error}") from None


def _segment_limit(path: str, value: object) -> int | None:
    """The size or age at which output is sent; None for a number that is not positive."""
    number = finite_number(path, value)
    return min(math.ceil(number), MAX_TIMER) if number > 0 else None


def _image(path: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_IMAGE_LENGTH or not _IMAGE.fullmatch(value):
        raise Invalid(f"{path} must be the name of a container image, such as python:3.12.")
    return value


def _cpus(path: str, value: object) -> float:
    cpus = finite_number(path, value)
    if cpus < MIN_CPUS:
        raise Invalid(f"{path} must be at least {MIN_CPUS}.")
    return cpus
