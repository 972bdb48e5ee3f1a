"""The `executor_config.json` that the client writes, or changes, for a command and its settings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Unpack

from cloud_executor.client.errors import InvalidSource
from cloud_executor.errors import Invalid
from cloud_executor.model.documents.config_document import read_document

OUTPUT_INTERVAL_MS = 500
"""Interval between output segments of a command, in milliseconds."""

ALL = ({"name": "all", "resultPatterns": []},)
"""Artifacts of a command for which none are given: one with every file."""


class JobSettings(TypedDict, total=False):
    """Settings of a job's `executor_config.json`; those that are absent or None keep their values there."""

    image: str | None
    """Container image."""
    env: Mapping[str, str] | None
    """Environment variables, added to those in the file."""
    timeout_seconds: float | None
    cpus: float | None
    memory_mib: int | None
    retries: int | None
    artifacts: Mapping[str, Sequence[str]] | None
    """Patterns of the result files by artifact name; no patterns: all files."""


_PLACEHOLDER = re.compile(r"(?<!\$)\{(\w+)\}")


def config_bytes(
    content: bytes | None, command: Sequence[str], variables: Mapping[str, str], **settings: Unpack[JobSettings]
) -> bytes:
    """Return the file for a command, or the given file with these settings. An unchanged file keeps its bytes.

    `{NAME}` in the command and its arguments becomes the value of the variable, which the job's environment also has.
    Raises InvalidSource.
    """
    given = [value for value in settings.values() if value is not None and value != {}]
    if content is not None and not command and not given and not variables:
        return content
    try:
        document = dict(read_document(content)) if content is not None and not command else _document_of(command)
        _apply(document, variables, settings)
        encoded = (json.dumps(document, indent=4, ensure_ascii=False) + "\n").encode()
        read_document(encoded)
    except Invalid as error:
        raise InvalidSource(str(error)) from None
    except UnicodeEncodeError:
        raise InvalidSource("The command contains bytes that are not valid UTF-8: use UTF-8 in it.") from None
    return encoded


def _document_of(command: Sequence[str]) -> dict[str, Any]:
    program, *arguments = command
    return {"cmd": program, "args": arguments, "resultArtifacts": list(ALL), "outputInterval": OUTPUT_INTERVAL_MS}


def _apply(document: dict[str, Any], variables: Mapping[str, str], settings: JobSettings) -> None:
    if artifacts := settings.get("artifacts"):
        document["resultArtifacts"] = [
            {"name": name, "resultPatterns": list(patterns)} for name, patterns in artifacts.items()
        ]
    environment = {**(settings.get("env") or {}), **variables}
    if environment:
        document["env"] = {**(document.get("env") or {}), **environment}
    for field, value in (
        ("image", settings.get("image")),
        ("timeout", settings.get("timeout_seconds")),
        ("retries", settings.get("retries")),
    ):
        if value is not None:
            document[field] = value
    resources = {"cpus": settings.get("cpus"), "memoryMiB": settings.get("memory_mib")}
    given = {name: value for name, value in resources.items() if value is not None}
    if given:
        document["resources"] = {**(document.get("resources") or {}), **given}
    if variables:
        document["cmd"] = _filled(document["cmd"], variables)
        document["args"] = [_filled(argument, variables) for argument in document.get("args") or ()]


def _filled(text: Any, variables: Mapping[str, str]) -> Any:  # noqa: ANN401 - arguments can be any JSON value
    """The text with its placeholders replaced. `${NAME}` is left to a shell."""
    if not isinstance(text, str):
        return text
    return _PLACEHOLDER.sub(lambda found: variables.get(found[1], found[0]), text)


def placeholders(config: bytes) -> list[str]:
    """The names in braces in the command and its arguments that can be variables, without repetition."""
    document = read_document(config)
    arguments = document.get("args")
    given = [document["cmd"], *(arguments if isinstance(arguments, list) else ())]
    arguments = [argument for argument in given if isinstance(argument, str)]
    names = [name for argument in arguments for name in _PLACEHOLDER.findall(argument) if not name[0].isdigit()]
    return list(dict.fromkeys(names))
