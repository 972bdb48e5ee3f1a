"""The basics of `executor_config.json`, which both the client and the worker check. Importing this module is cheap."""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Iterable, Mapping

from cloud_executor.errors import Invalid
from cloud_executor.model.documents import javascript
from cloud_executor.model.documents.environment import argument
from cloud_executor.model.documents.json_fields import JsonFields, json_object, nonempty_string

CONFIG_FILE = "executor_config.json"

MAX_BYTES = 1_048_576
"""Size limit of the file, in bytes."""

_FIELDS = (
    *("cmd", "args", "resultArtifacts", "outputInterval", "outputSegmentSize"),
    *("timeout", "env", "image", "resources", "retries"),
)

_SIMILAR_FIELD, _SIMILAR_FILE = 0.6, 0.85
"""Least similarity of a wrong name that is shown next to the right one."""

_WRONG_ENCODINGS = {
    codecs.BOM_UTF8: "a byte order mark (BOM), which JSON does not allow; save it as UTF-8 without a BOM",
    codecs.BOM_UTF16_LE: "the byte order mark of UTF-16; save it as UTF-8",
    codecs.BOM_UTF16_BE: "the byte order mark of UTF-16; save it as UTF-8",
}
"""What to do about invisible bytes at the beginning of the file."""


def read_document(raw: bytes) -> Mapping[str, object]:
    """Parse the file as a JSON object that has the required fields and a valid `cmd`. Raises Invalid.

    This is all that a client checks, because the worker may know more about the other fields.
    """
    if len(raw) > MAX_BYTES:
        raise Invalid(f"{CONFIG_FILE} is larger than {MAX_BYTES} bytes.")
    for mark, what in _WRONG_ENCODINGS.items():
        if raw.startswith(mark):
            raise Invalid(f"{CONFIG_FILE} begins with {what}.")
    try:
        document = json_object("The file", javascript.parse_json(raw))
        _require(document, "cmd")
        JsonFields(document).required("cmd", program)
        _require(document, "resultArtifacts")
    except Invalid as error:
        raise Invalid(f"{CONFIG_FILE}: {error}") from None
    return document


def similar_file(names: Iterable[str]) -> str | None:
    """A file that may be meant to be executor_config.json, such as Executor_Config.json."""
    return _similar(CONFIG_FILE, names, _SIMILAR_FILE)


def _similar(wanted: str, names: Iterable[str], least: float) -> str | None:
    by_folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(wanted.casefold(), by_folded, 1, least)
    return by_folded[near[0]] if near else None


def _require(document: Mapping[str, object], name: str) -> None:
    if name not in document:
        near = _similar(name, (found for found in document if found not in _FIELDS), _SIMILAR_FIELD)
        raise Invalid(f"{name} is missing." if near is None else f"{name} is missing; rename {near} to {name}.")


def program(path: str, value: object) -> str:
    if isinstance(value, list):
        raise Invalid(f"{path} must be a string, the program alone; put its arguments into args.")
    return argument(path, nonempty_string(path, value))
