"""`executor_config.json`: which command a job runs, and which results it keeps
(docs/protocol.md: executor_config.json).

WebGME's fields mean what they mean there; `timeout`, `env`, `image`, `resources` and `retries` are ours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from cloud_executor.errors import Invalid
from cloud_executor.model import javascript
from cloud_executor.model.javascript import is_truthy
from cloud_executor.model.patterns.minimatch import MAX_SIZE, ResultPatterns

MAX_BYTES = 1_048_576
"""so large the file may be"""
_LONGEST = 2**31 - 1
"""what timers and counters take without overflowing"""

MAX_RETRIES = 100
LEAST_MEMORY_MIB = 16
"""with less an engine starts no container"""
LEAST_CPUS = 0.01
MAX_IMAGE_LENGTH = 512

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = re.compile(r"ORIGIN_URL|(?:CLOUD_EXECUTOR|TINI)_\w*")
"""variables by which the worker keeps its promises: where the server is, and how a command is found and ended"""
_IMAGE = re.compile(r"[A-Za-z0-9][\w.:/@+-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class ResultArtifact:
    """Result files that are kept as one artifact."""

    name: str
    """key in the job's `resultHashes`; the blob is `<name>.zip`"""
    patterns: ResultPatterns


@dataclass(frozen=True, slots=True)
class ExecutorConfig:
    """What to run. Texts can be encoded in UTF-8, and `cmd` and `args` have no NUL."""

    cmd: str
    """a name looked up in PATH, or a path relative to the job's folder"""
    args: tuple[str, ...]
    """passed as they are, without a shell"""
    result_artifacts: tuple[ResultArtifact, ...]
    """names are unique"""
    output_interval_ms: int | None
    """how often output is sent while the command runs; None: not by time"""
    output_segment_lines: int | None
    """after how many lines output is sent; None: not by lines"""
    timeout: timedelta | None
    """how long the command may run; None: as long as the pool lets it"""
    env: Mapping[str, str]
    """added to the command's environment"""
    image: str | None
    """what its container is made of; None: what the pool says, as with all below"""
    cpus: float | None
    memory_mib: int | None
    retries: int | None
    """how often the job is tried again whose worker vanished, or waited in vain for a service"""

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read the file. Raises Invalid with a sentence that names the field; unknown fields are ignored."""
        if len(raw) > MAX_BYTES:
            raise Invalid(f"executor_config.json is larger than {MAX_BYTES} bytes.")
        try:
            document = javascript.parse_json(raw)
        except Invalid as error:
            raise Invalid(f"executor_config.json: {error}") from None
        if not isinstance(document, dict):
            raise Invalid("executor_config.json must be a JSON object.")
        cpus, memory_mib = _parse_resources(document.get("resources"))
        return cls(
            cmd=_parse_command(document.get("cmd")),
            args=_parse_args(document.get("args")),
            result_artifacts=_parse_artifacts(document.get("resultArtifacts")),
            output_interval_ms=_parse_positive("outputInterval", document.get("outputInterval")),
            output_segment_lines=_parse_positive("outputSegmentSize", document.get("outputSegmentSize")),
            timeout=_parse_timeout(document.get("timeout")),
            env=_parse_env(document.get("env")),
            image=_parse_image(document.get("image")),
            cpus=cpus,
            memory_mib=memory_mib,
            retries=_parse_whole("retries", document.get("retries"), 0, MAX_RETRIES),
        )


def _parse_command(cmd: object) -> str:
    if not isinstance(cmd, str):
        raise Invalid("cmd in executor_config.json must be a text: the program to run.")
    if not cmd:
        raise Invalid("cmd in executor_config.json is empty.")
    return _argument("cmd", cmd)


def _parse_args(args: object) -> tuple[str, ...]:
    if not is_truthy(args):
        return ()
    if not isinstance(args, list):
        raise Invalid("args in executor_config.json must be a list.")
    return tuple(_argument(f"args[{place}]", javascript.to_string(arg)) for place, arg in enumerate(args))


def _argument(field: str, text: str) -> str:
    if "\0" in text:
        raise Invalid(f"{field} in executor_config.json must not contain the character NUL.")
    return javascript.to_well_formed(text)


def _parse_artifacts(artifacts: object) -> tuple[ResultArtifact, ...]:
    if isinstance(artifacts, dict):
        # WebGME's worker asks for an object, and finds no artifacts in one that is no list.
        return ()
    if not isinstance(artifacts, list):
        raise Invalid("resultArtifacts in executor_config.json must be a list.")
    by_name: dict[str, ResultArtifact] = {}
    size = 0
    for place, artifact in enumerate(artifacts):
        parsed = _parse_artifact(f"resultArtifacts[{place}]", artifact)
        size += parsed.patterns.size
        if size > MAX_SIZE:
            raise Invalid("The result patterns in executor_config.json stand for too much.")
        # Of two with one name the last stays.
        by_name[parsed.name] = parsed
    return tuple(by_name.values())


def _parse_artifact(field: str, artifact: object) -> ResultArtifact:
    if not isinstance(artifact, dict):
        raise Invalid(f"{field} in executor_config.json must be an object.")
    name, patterns = artifact.get("name"), artifact.get("resultPatterns")
    if not isinstance(name, str):
        raise Invalid(f"{field}.name in executor_config.json must be a text.")
    if not isinstance(patterns, list):
        patterns = []
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise Invalid(f"{field}.resultPatterns in executor_config.json must be a list of texts.")
    try:
        return ResultArtifact(javascript.to_well_formed(name), ResultPatterns(patterns))
    except Invalid as error:
        raise Invalid(f"{field}.resultPatterns in executor_config.json: {error}") from None


def _parse_positive(field: str, value: object) -> int | None:
    """A positive number; what is not positive, or counts as false, means never."""
    if not is_truthy(value):
        return None
    number = _number(field, value)
    return min(math.ceil(number), _LONGEST) if number > 0 else None


def _parse_timeout(value: object) -> timedelta | None:
    if value is None:
        return None
    seconds = _number("timeout", value)
    if seconds <= 0:
        raise Invalid("timeout in executor_config.json must be more than 0 seconds.")
    return timedelta(seconds=min(max(seconds, 0.001), _LONGEST))


def _parse_env(value: object) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Invalid("env in executor_config.json must be an object of texts.")
    return {_variable(name): _env_value(name, text) for name, text in value.items()}


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise Invalid("env in executor_config.json has a name that is not made of letters, digits and underscores.")
    if _RESERVED.fullmatch(name):
        raise Invalid(f"env in executor_config.json must not set {name}: the worker does.")
    return name


def _env_value(name: str, text: object) -> str:
    if not isinstance(text, str):
        raise Invalid(f"env.{name} in executor_config.json must be a text.")
    return _argument(f"env.{name}", text)


def _parse_image(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_IMAGE_LENGTH or not _IMAGE.fullmatch(value):
        raise Invalid("image in executor_config.json must be the name of an image.")
    return value


def _parse_resources(value: object) -> tuple[float | None, int | None]:
    """Processors and memory."""
    if value is None:
        return None, None
    if not isinstance(value, dict):
        raise Invalid("resources in executor_config.json must be an object.")
    cpus = None if value.get("cpus") is None else _number("resources.cpus", value["cpus"])
    if cpus is not None and cpus < LEAST_CPUS:
        raise Invalid(f"resources.cpus in executor_config.json must be {LEAST_CPUS} or more.")
    return cpus, _parse_whole("resources.memoryMiB", value.get("memoryMiB"), LEAST_MEMORY_MIB, _LONGEST)


def _parse_whole(field: str, value: object, least: int, most: int) -> int | None:
    if value is None:
        return None
    number = _number(field, value)
    if number != number // 1 or not least <= number <= most:
        raise Invalid(f"{field} in executor_config.json must be a whole number from {least} to {most}.")
    return int(number)


def _number(field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Invalid(f"{field} in executor_config.json must be a number.")
    return value
