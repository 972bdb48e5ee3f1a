from __future__ import annotations

import math
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from cloud_executor.errors import Invalid
from cloud_executor.model.documents import json_fields
from cloud_executor.model.documents.json_fields import MAX_SAFE_INTEGER, MAX_TIMER, JsonFields, Reader

percent = partial(json_fields.whole_number, least=0, most=100)
seconds = partial(json_fields.duration, unit=timedelta(seconds=1))


def rejection(read: Reader[Any], value: object) -> str:
    with pytest.raises(Invalid) as rejected:
        read("LIST[0].field", value)
    return str(rejected.value)


@pytest.mark.parametrize(
    ("read", "values"),
    [
        (json_fields.string, ["", "a"]),
        (json_fields.nonempty_string, ["a"]),
        (json_fields.boolean, [True, False]),
        (json_fields.number, [0, -1.5, math.inf]),
        (json_fields.finite_number, [0, -1.5]),
        (json_fields.positive_number, [0.5, 3]),
        (json_fields.whole_number, [0, MAX_SAFE_INTEGER, -MAX_SAFE_INTEGER]),
        (percent, [0, 7.0, 100]),
        (json_fields.json_object, [{}, {"a": 1}]),
        (json_fields.json_list, [[], [1, "a"]]),
        (json_fields.strings, [[], ["a", ""]]),
    ],
)
def test_valid_value_is_returned(read: Reader[Any], values: list[object]) -> None:
    assert [read("field", value) for value in values] == values


@pytest.mark.parametrize(
    ("read", "values", "requirement"),
    [
        (json_fields.string, [5, True, [], {}], "a string"),
        (json_fields.nonempty_string, ["", 5], "a nonempty string"),
        (json_fields.boolean, [1, "true", []], "true or false"),
        (json_fields.number, ["1", True, []], "a number"),
        (json_fields.finite_number, [math.inf, -math.inf], "a finite number"),
        (json_fields.positive_number, [0, -1, math.inf], "a number above 0"),
        (percent, [-1, 101, 1.5, True, "1", math.inf, -math.inf], "a whole number from 0 to 100"),
        (seconds, [0, -1], "a number above 0"),
        (json_fields.json_object, [[], "x", 5], "a JSON object"),
        (json_fields.json_list, [{}, "x", 5], "a list"),
        (json_fields.strings, [[5], ["a", None], "x", {}], "a list of strings"),
    ],
)
def test_invalid_value_is_rejected_by_its_path(read: Reader[Any], values: list[object], requirement: str) -> None:
    assert {rejection(read, value) for value in values} == {f"LIST[0].field must be {requirement}."}


def test_whole_number_must_be_exact_in_a_double() -> None:
    assert rejection(json_fields.whole_number, 2**53) == (
        "LIST[0].field must be a whole number from -9007199254740991 to 9007199254740991."
    )


@pytest.mark.parametrize(
    ("value", "expected"), [(1.5, timedelta(seconds=1.5)), (1e-9, timedelta(milliseconds=1)), (1e300, MAX_TIMER)]
)
def test_duration_fits_into_a_timer(value: float, expected: timedelta | int) -> None:
    assert seconds("field", value) == (timedelta(seconds=expected) if isinstance(expected, int) else expected)


@pytest.mark.parametrize(("values", "sentence"), [({}, "is missing"), ({"name": None}, "must not be null")])
def test_absent_and_null_fields_are_rejected_if_required(values: dict[str, object], sentence: str) -> None:
    fields = JsonFields(values, "LIST[0]")
    assert fields.optional("name", json_fields.string) is None
    with pytest.raises(Invalid) as rejected:
        fields.required("name", json_fields.string)
    assert str(rejected.value) == f"LIST[0].name {sentence}."


def test_field_of_an_object_without_a_path_is_shown_by_its_name() -> None:
    with pytest.raises(Invalid, match=r"^name must be a string\.$"):
        JsonFields({"name": 5}).optional("name", json_fields.string)


def test_unknown_field_is_rejected_with_the_known_ones() -> None:
    JsonFields({"a": 1}).reject_unknown(["a", "b"])
    with pytest.raises(Invalid, match=r"^LIST\[0\]\.c is not a known field; known fields: a, b\.$"):
        JsonFields({"a": 1, "d": 1, "c": 1}, "LIST[0]").reject_unknown(["a", "b"])
