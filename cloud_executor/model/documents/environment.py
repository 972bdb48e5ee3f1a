"""Environment variables that a job, or the operator for all jobs, adds to the environment of commands."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cloud_executor.errors import Invalid
from cloud_executor.model.documents import javascript
from cloud_executor.model.documents.json_fields import json_object, string

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = re.compile(r"ORIGIN_URL|(?:CLOUD_EXECUTOR|TINI)_\w*")
"""Variables that the worker sets: the server's address, and markers by which it finds the command's processes."""


def environment(path: str, value: object) -> Mapping[str, str]:
    """Read an object of variables. Raises Invalid."""
    variables = json_object(path, value)
    for name in variables:
        if not _VARIABLE.fullmatch(name):
            raise Invalid(f"{path} has an invalid name: use letters, digits, and underscores, but no digit first.")
        if _RESERVED.fullmatch(name):
            raise Invalid(f"{path} must not set {name}: the worker sets it.")
    return {name: argument(f"{path}.{name}", string(f"{path}.{name}", value)) for name, value in variables.items()}


def argument(path: str, argument: str) -> str:
    """A string that a program can get as an argument or a variable. Raises Invalid."""
    if "\0" in argument:
        raise Invalid(f"{path} must not contain the character NUL.")
    return javascript.to_well_formed(argument)
