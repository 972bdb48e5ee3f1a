import json
import math
import tracemalloc
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import recorded

from cloud_executor.errors import Invalid
from cloud_executor.model.documents import javascript

NODE = recorded("javascript_generated.json")

strings = st.text(st.characters(exclude_categories=()))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15) + 1, 10**15 - 1) | st.floats(allow_nan=False) | strings,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(strings, inner, max_size=4),
    max_leaves=12,
)


def test_number_has_javascripts_shortest_form(subtests):
    for text, expected in NODE["numbers"]:
        with subtests.test(text):
            assert javascript.number_to_string(float(text)) == expected


def test_numbers_are_read_as_doubles(subtests):
    for text, expected in [pair for pair in NODE["numbers"] if "Infinity" not in pair[1]]:
        with subtests.test(text):
            assert javascript.stringify(javascript.parse_json(text)) == expected


def test_numbers_that_are_not_finite_have_names():
    assert [javascript.number_to_string(value) for value in (math.nan, math.inf, -math.inf)] == [
        "NaN",
        "Infinity",
        "-Infinity",
    ]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_number_survives_a_round_trip(value):
    assert float(javascript.number_to_string(value)) == value


def test_json_is_parsed_and_written_like_in_javascript(subtests):
    for text, expected in NODE["json"]:
        with subtests.test(text=text):
            if expected is None:
                with pytest.raises(Invalid):
                    javascript.parse_json(text)
            else:
                assert javascript.stringify(javascript.parse_json(text)) == expected


@given(json_values)
def test_json_survives_a_round_trip(value):
    written = javascript.stringify(value)
    written.encode()
    assert javascript.stringify(javascript.parse_json(written)) == written


@given(strings)
def test_quoted_string_is_parsed_to_the_same_string(text):
    assert javascript.utf16_key(json.loads(javascript.quote(text))) == javascript.utf16_key(text)


@pytest.mark.parametrize(
    "body", [b"\xff", b'"\xed\xa0\x80"', b"\xef\xbb\xbf{}", b"[" * 100_000, b'{"a":' * 100_000, b"NaN", b"-Infinity"]
)
def test_invalid_json_is_rejected_with_a_sentence(body):
    with pytest.raises(Invalid) as caught:
        javascript.parse_json(body)
    assert str(caught.value).endswith(".")


def test_number_of_thousands_of_digits_is_infinite():
    assert javascript.parse_json(b"[" + b"9" * 5000 + b",-" + b"9" * 5000 + b",1e999]") == [
        math.inf,
        -math.inf,
        math.inf,
    ]
    assert javascript.stringify([math.inf, -math.inf]) == "[null,null]"


def test_deeply_nested_value_is_rejected():
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    for function in (javascript.stringify, javascript.to_string):
        with pytest.raises(Invalid):
            function(value)


def test_value_becomes_a_string_like_in_javascript(subtests):
    for text, expected in NODE["strings"]:
        with subtests.test(text=text):
            assert javascript.to_string(javascript.parse_json(text)) == expected


def test_strings_are_sorted_by_utf16_code_units(subtests):
    for given_strings, expected in NODE["sorted"]:
        with subtests.test(strings=given_strings):
            assert sorted(given_strings, key=javascript.utf16_key) == expected


def test_array_indexes_are_the_first_keys(subtests):
    for keys, expected in NODE["keys"]:
        with subtests.test(keys=keys):
            assert javascript.key_order(keys) == expected


def test_lone_surrogates_become_replacement_characters(subtests):
    for text, expected in NODE["wellFormed"]:
        with subtests.test(text=text):
            assert javascript.to_well_formed(text) == expected


def test_white_space_is_what_trim_removes(subtests):
    for text, expected in NODE["trimmed"]:
        with subtests.test(text=text):
            assert text.strip(javascript.WHITE_SPACE) == expected


@given(strings)
def test_utf16_units_has_one_character_per_code_unit(text):
    units = javascript.utf16_units(text)
    assert javascript.utf16_key(units) == javascript.utf16_key(text)
    assert 2 * len(units) == len(javascript.utf16_key(text))


@pytest.mark.parametrize(
    ("value", "truthy"),
    [(None, False), (False, False), (0, False), (-0.0, False), ("", False), ([], True), ({}, True), ("0", True)],
)
def test_truthiness_is_javascripts(value, truthy):
    assert javascript.is_truthy(value) is truthy


def test_time_is_in_utc_with_milliseconds():
    moment = datetime(2026, 1, 31, 13, 0, 0, 7999, timezone(timedelta(hours=1)))
    assert javascript.iso_time(moment) == "2026-01-31T12:00:00.007Z"


@pytest.mark.parametrize(
    "text",
    ["[" * 2_000_000, "[[]," * 400_000 + "0" + "]" * 400_000, '{"":1,' * 600_000, "[" + "1," * 1_000_000 + "1]"],
    ids=range(4),
)
def test_json_with_too_many_values_is_rejected_before_it_takes_memory(text):
    tracemalloc.start()
    try:
        with pytest.raises(Invalid, match="more than 1000000 values"):
            javascript.parse_json(text)
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()


def test_long_strings_are_no_values():
    text = "[,{" * 700_000 + '\\"'
    assert javascript.parse_json(json.dumps({"output": text, "outputNumber": 1})) == {"output": text, "outputNumber": 1}
