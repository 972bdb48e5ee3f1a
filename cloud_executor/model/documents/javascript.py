"""Rules of JavaScript on which the identity of blobs depends.

WebGME's server computes hashes from the result of `JSON.stringify(JSON.parse(…))`. Some rules of ECMA-262 are therefore
part of the protocol: the order of keys, the sort order of strings, the shortest form of numbers, and escapes
(docs/protocol.md: Identity).

A number is an `int` if it has up to 15 digits and no fraction, otherwise a `float`; `inf` is one that is too large.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from json.encoder import encode_basestring
from typing import NoReturn

from cloud_executor.errors import Invalid

_EN_QUAD_TO_HAIR_SPACE = "".join(map(chr, range(0x2000, 0x200B)))
WHITE_SPACE = f"\t\n\v\f\r \xa0\u1680{_EN_QUAD_TO_HAIR_SPACE}\u2028\u2029\u202f\u205f\u3000\ufeff"
"""Characters that `trim` removes."""

MAX_VALUES = 1_000_000
"""Maximum number of values in a JSON document. The metadata of 32 MiB of files has about 800,000."""

_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
_ARRAY_INDEX = re.compile("0|[1-9][0-9]{0,9}")
_LAST_ARRAY_INDEX = 2**32 - 2
_EXACT_DIGITS = 15
"""Number of decimal digits that a double always holds exactly."""


def parse_json(body: bytes | str) -> object:
    """`JSON.parse(body)`: a duplicate key keeps its first position and its last value. Raises Invalid.

    A long document must not have more than MAX_VALUES values, each of which takes about a hundred bytes of memory.
    """
    try:
        text = body if isinstance(body, str) else body.decode()
        if len(text) > MAX_VALUES:
            structure = _STRING.sub("", text)
            if sum(map(structure.count, "[{,")) > MAX_VALUES:
                raise Invalid(f"Invalid JSON: it has more than {MAX_VALUES} values.")
        return _DECODER.decode(text)
    except UnicodeDecodeError:
        raise Invalid("Invalid JSON: it is not encoded in UTF-8.") from None
    except RecursionError:
        raise Invalid("Invalid JSON: it is nested too deeply.") from None
    except json.JSONDecodeError as error:
        raise Invalid(f"Invalid JSON: {error.msg} (character {error.pos}).") from None


def stringify(value: object) -> str:
    """`JSON.stringify(value)`, which escapes lone surrogates, so UTF-8 can encode the result. Raises Invalid."""
    try:
        return _stringify(value)
    except RecursionError:
        raise Invalid("Invalid JSON: it is nested too deeply.") from None


def quote(text: str) -> str:
    """`JSON.stringify(text)`."""
    if not text.isascii() and _SURROGATE.search(text):
        return _SURROGATE.sub(lambda lone: f"\\u{ord(lone[0]):x}", encode_basestring(_joined(text)))
    return encode_basestring(text)


def to_string(value: object) -> str:
    """`String(value)` for a value that was parsed from JSON. Raises Invalid."""
    try:
        return _to_string(value)
    except RecursionError:
        raise Invalid("Invalid JSON: it is nested too deeply.") from None


def number_to_string(value: float) -> str:
    """`String(value)`: the shortest digits that are read as the same double."""
    if isinstance(value, int) and abs(value) < 10**_EXACT_DIGITS:
        return str(int(value))
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    # Python's repr has the same digits, but switches to exponents at other magnitudes.
    negative, digit_values, exponent = Decimal(repr(float(value))).normalize().as_tuple()
    digits = "".join(map(str, digit_values))
    point = len(digits) + int(exponent)
    if digits == "0":
        return "0"
    if len(digits) <= point <= 21:
        text = digits.ljust(point, "0")
    elif 0 < point <= 21:
        text = f"{digits[:point]}.{digits[point:]}"
    elif -6 < point <= 0:
        text = f"0.{digits.rjust(len(digits) - point, '0')}"
    else:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        text = f"{digits[0]}{fraction}e{point - 1:+d}"
    return f"-{text}" if negative else text


def is_truthy(value: object) -> bool:
    """`Boolean(value)`: unlike in Python, an empty list or object counts as true."""
    return value not in (None, False, 0, "")


def truthy_fields(document: Mapping[str, object]) -> dict[str, object]:
    """The fields whose values are truthy."""
    return {name: value for name, value in document.items() if is_truthy(value)}


def utf16_key(text: str) -> bytes:
    """Sort key for JavaScript's order of strings, which compares UTF-16 code units."""
    return text.encode("utf-16-be", "surrogatepass")


def utf16_units(text: str) -> str:
    """The string with one character for each UTF-16 code unit, as JavaScript indexes it."""
    if text.isascii() or not _ASTRAL.search(text):
        return text
    return "".join(map(chr, array("H", text.encode("utf-16", "surrogatepass")[2:])))


def to_well_formed(text: str) -> str:
    """`text.toWellFormed()`: replace each lone surrogate with U+FFFD, so that UTF-8 can encode the string."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", _joined(text))


def key_order(keys: Iterable[str]) -> list[str]:
    """The keys in the order that a JavaScript object gives them: array indexes by value, then the others as added."""
    indexes: list[str] = []
    others: list[str] = []
    for key in keys:
        (indexes if _is_array_index(key) else others).append(key)
    return sorted(indexes, key=int) + others if indexes else others


def iso_time(moment: datetime) -> str:
    """`moment.toISOString()`: `2026-01-31T12:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= _EXACT_DIGITS else float(digits)


def _reject(constant: str) -> NoReturn:
    raise Invalid(f"Invalid JSON: {constant} is not allowed.")


_DECODER = json.JSONDecoder(parse_int=_integer, parse_constant=_reject)


def _is_array_index(key: str) -> bool:
    return _ARRAY_INDEX.fullmatch(key) is not None and int(key) <= _LAST_ARRAY_INDEX


def _stringify(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return quote(value)
        case int() | float():
            return number_to_string(value) if math.isfinite(value) else "null"
        case list():
            return "[" + ",".join(map(_stringify, value)) + "]"
        case dict():
            return "{" + ",".join([f"{quote(key)}:{_stringify(value[key])}" for key in key_order(value)]) + "}"
    raise TypeError(f"JSON cannot represent {type(value).__name__}")


def _to_string(value: object) -> str:
    match value:
        case str():
            return value
        case list():
            return ",".join("" if element is None else _to_string(element) for element in value)
        case dict():
            return "[object Object]"
        case int() | float() if not isinstance(value, bool):
            return number_to_string(value)
    return _stringify(value)


def _joined(text: str) -> str:
    """The string with each surrogate pair replaced by the character that it encodes."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
