"""What is wrong with a setting in the environment."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from cloud_executor.errors import Invalid
from cloud_executor.model.documents.environment import environment
from cloud_executor.model.documents.javascript import parse_json
from cloud_executor.model.jobs import pool

PREFIX = "EXECUTOR_"

_RENAMED = {"EXECUTOR_QUEUE": "EXECUTOR_JOBS", "EXECUTOR_MAX_LOSSES": "EXECUTOR_RETRIES"}
"""Former settings, and their successors."""


class InvalidSetting(Invalid):
    """A setting in the environment is wrong."""


def likely_setting(unknown: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown setting: the setting that is probably meant."""
    if unknown in _RENAMED:
        return f"; use {_RENAMED[unknown]}"
    names = [name.removeprefix(PREFIX) for name in known]
    near = difflib.get_close_matches(unknown.removeprefix(PREFIX).upper(), names, 1, 0.6)
    return f"; use {PREFIX}{near[0]} if you mean that" if near else ""


def parse_pools(text: str, defaults: pool.WorkerPool) -> tuple[pool.WorkerPool, ...]:
    """Raises InvalidSetting."""
    try:
        return pool.parse_pools(f"{PREFIX}POOLS", text, defaults)
    except Invalid as error:
        raise InvalidSetting(str(error)) from None


def parse_environment(text: str) -> Mapping[str, str]:
    """Raises InvalidSetting."""
    name = f"{PREFIX}JOB_ENV"
    try:
        return environment(name, parse_json(text))
    except Invalid as error:
        message = str(error)
        raise InvalidSetting(message if message.startswith(name) else f"{name}: {message}") from None
