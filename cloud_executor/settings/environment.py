"""The values of the settings in the environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import Field
from typing import Any

from cloud_executor.settings.errors import PREFIX, InvalidSetting, likely_setting

ELSEWHERE = frozenset(f"EXECUTOR_{name}" for name in ("URL", "TOKEN", "PROFILE", "GOOGLE_IDENTITY", "REQUIRE"))
"""Variables with the prefix that are not settings: the client's options and the tests' required components."""

PROJECT_VARIABLE = "GOOGLE_CLOUD_PROJECT"
"""Variable that names the project for Google's own libraries too; `EXECUTOR_PROJECT` takes precedence."""

NONCES = ("EXECUTOR_NONCE", "EXECUTOR_WORKER_NONCE")
"""Variables with the secrets of requests. Only the server needs them."""

SHORT_NONCE = 16
"""Length of a nonce, in characters, below which guessing it may succeed."""


def field_values(fields: Iterable[Field[Any]], environ: Mapping[str, str]) -> dict[str, Any]:
    """The value of each field whose variable is set, by the field's name.

    Raises InvalidSetting for a variable with the prefix that is not a setting, and for an invalid value.
    """
    known = {PREFIX + found.name.upper(): found for found in fields}
    unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in known.keys() | ELSEWHERE)
    if unknown:
        wrong = f"{unknown[0]} is not a known setting{likely_setting(unknown[0], known)}"
        raise InvalidSetting(f"{wrong}. Known settings: {', '.join(sorted(known))}.")
    for name in NONCES:
        if environ.get(name) == "":
            raise InvalidSetting(
                f"{name} is empty, so it would protect nothing: set it to a secret, or unset it for no secret."
            )
    values: dict[str, Any] = {}
    for name, found in known.items():
        text = environ.get(name)
        if not text:
            continue
        try:
            values[found.name] = found.metadata["parse"](text)
        except (ValueError, KeyError, OverflowError):
            raise InvalidSetting(f"{name} must be {found.metadata['form']}, not {text[:80]!r}.") from None
    values.setdefault("project", environ.get(PROJECT_VARIABLE) or None)
    return values
