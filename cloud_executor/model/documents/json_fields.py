"""Read the fields of JSON objects: one reader for each type, and one wording of errors.

A reader takes the path of a value, such as `EXECUTOR_POOLS[0].slots`, and the value itself. It raises Invalid with a
sentence that begins with the path.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from cloud_executor.errors import Invalid

_Value = TypeVar("_Value")

Reader = Callable[[str, object], _Value]

MAX_SAFE_INTEGER = 2**53 - 1
"""Largest whole number for which every smaller one is exact in a double."""
MAX_TIMER = 2**31 - 1
"""Largest number that timers and counters accept without overflow."""
_SHORTEST = 0.001
"""Shortest duration, in its unit."""


@dataclass(frozen=True, slots=True)
class JsonFields:
    """The fields of a JSON object."""

    values: Mapping[str, object]
    path: str = ""
    """Path of the object, shown before the names of its fields."""

    def required(self, name: str, read: Reader[_Value]) -> _Value:
        """Read a field that must be present and not null."""
        value = self.values.get(name)
        if name not in self.values:
            raise Invalid(f"{self._path_of(name)} is missing.")
        if value is None:
            raise Invalid(f"{self._path_of(name)} must not be null.")
        return read(self._path_of(name), value)

    def optional(self, name: str, read: Reader[_Value]) -> _Value | None:
        """Read a field; None if it is absent or null."""
        return None if self.values.get(name) is None else self.required(name, read)

    def reject_unknown(self, known: Collection[str]) -> None:
        """Raises Invalid for the first field, by name, that is not in `known`."""
        for name in sorted(self.values.keys() - known):
            raise Invalid(f"{self._path_of(name)} is not a known field; known fields: {', '.join(known)}.")

    def _path_of(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


def string(path: str, value: object) -> str:
    if not isinstance(value, str):
        raise Invalid(f"{path} must be a string.")
    return value


def nonempty_string(path: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise Invalid(f"{path} must be a nonempty string.")
    return value


def boolean(path: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise Invalid(f"{path} must be true or false.")
    return value


def number(path: str, value: object) -> float:
    """Any number; `inf` is one that is too large for a double."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Invalid(f"{path} must be a number.")
    return value


def finite_number(path: str, value: object) -> float:
    found = number(path, value)
    if not math.isfinite(found):
        raise Invalid(f"{path} must be a finite number.")
    return found


def positive_number(path: str, value: object) -> float:
    found = number(path, value)
    if not 0 < found < math.inf:
        raise Invalid(f"{path} must be a number above 0.")
    return found


def whole_number(path: str, value: object, *, least: int = -MAX_SAFE_INTEGER, most: int = MAX_SAFE_INTEGER) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1 or not least <= value <= most:
        raise Invalid(f"{path} must be a whole number from {least} to {most}.")
    return int(value)


def duration(path: str, value: object, *, unit: timedelta) -> timedelta:
    """A positive number of units. One that is too short or too long for a timer becomes the nearest possible one."""
    return min(max(positive_number(path, value), _SHORTEST), MAX_TIMER) * unit


def json_object(path: str, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise Invalid(f"{path} must be a JSON object.")
    return value


def json_list(path: str, value: object) -> list[object]:
    if not isinstance(value, list):
        raise Invalid(f"{path} must be a list.")
    return value


def strings(path: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(element, str) for element in value):
        raise Invalid(f"{path} must be a list of strings.")
    return value
