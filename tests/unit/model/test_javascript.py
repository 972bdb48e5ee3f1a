import json
import math
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import recorded

from cloud_executor.errors import Invalid
from cloud_executor.model import javascript

NODE = recorded("javascript_generated.json")

texts = st.text(st.characters(exclude_categories=()))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15) + 1, 10**15 - 1) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(("text", "expected"), NODE["numbers"])
def test_numbers_have_javascripts_shortest_text(text, expected):
    assert javascript.number_text(float(text)) == expected


@pytest.mark.parametrize(("text", "expected"), [pair for pair in NODE["numbers"] if "Infinity" not in pair[1]])
def test_numbers_are_read_as_doubles(text, expected):
    assert javascript.stringify(javascript.parse_json(text)) == expected


def test_what_is_no_finite_number_has_a_text_too():
    assert [javascript.number_text(value) for value in (math.nan, math.inf, -math.inf)] == [
        "NaN",
        "Infinity",
        "-Infinity",
    ]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_text_of_a_number_gives_the_number(value):
    assert float(javascript.number_text(value)) == value


@pytest.mark.parametrize(("text", "expected"), NODE["json"])
def test_json_is_read_and_written_as_javascript_does(text, expected):
    if expected is None:
        with pytest.raises(Invalid):
            javascript.parse_json(text)
    else:
        assert javascript.stringify(javascript.parse_json(text)) == expected


@given(json_values)
def test_what_is_written_is_read_back(value):
    written = javascript.stringify(value)
    written.encode()
    assert javascript.stringify(javascript.parse_json(written)) == written


@given(texts)
def test_quoted_text_reads_as_the_text(text):
    assert javascript.utf16_key(json.loads(javascript.quote(text))) == javascript.utf16_key(text)


@pytest.mark.parametrize(
    "body", [b"\xff", b'"\xed\xa0\x80"', b"\xef\xbb\xbf{}", b"[" * 100_000, b'{"a":' * 100_000, b"NaN", b"-Infinity"]
)
def test_what_is_no_json_is_refused_with_a_sentence(body):
    with pytest.raises(Invalid) as caught:
        javascript.parse_json(body)
    assert str(caught.value).endswith(".")


def test_a_number_of_thousands_of_digits_is_only_too_large():
    assert javascript.parse_json(b"[" + b"9" * 5000 + b",-" + b"9" * 5000 + b",1e999]") == [
        math.inf,
        -math.inf,
        math.inf,
    ]
    assert javascript.stringify([math.inf, -math.inf]) == "[null,null]"


def test_a_value_nested_too_deeply_is_refused():
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    for function in (javascript.stringify, javascript.to_string):
        with pytest.raises(Invalid):
            function(value)


@pytest.mark.parametrize(("text", "expected"), NODE["strings"])
def test_values_become_text_as_javascripts_string_makes_it(text, expected):
    assert javascript.to_string(javascript.parse_json(text)) == expected


@pytest.mark.parametrize(("given_texts", "expected"), NODE["sorted"])
def test_texts_sort_by_utf16_units(given_texts, expected):
    assert sorted(given_texts, key=javascript.utf16_key) == expected


@pytest.mark.parametrize(("keys", "expected"), NODE["keys"])
def test_array_indexes_come_first_among_keys(keys, expected):
    assert javascript.key_order(keys) == expected


@pytest.mark.parametrize(("text", "expected"), NODE["wellFormed"])
def test_lone_surrogates_become_replacement_characters(text, expected):
    assert javascript.to_well_formed(text) == expected


@pytest.mark.parametrize(("text", "expected"), NODE["trimmed"])
def test_white_space_is_what_trim_takes(text, expected):
    assert text.strip(javascript.WHITE_SPACE) == expected


@given(texts)
def test_a_text_has_one_character_for_each_utf16_unit(text):
    units = javascript.utf16_units(text)
    assert javascript.utf16_key(units) == javascript.utf16_key(text)
    assert 2 * len(units) == len(javascript.utf16_key(text))


@pytest.mark.parametrize(
    ("value", "truthy"),
    [(None, False), (False, False), (0, False), (-0.0, False), ("", False), ([], True), ({}, True), ("0", True)],
)
def test_truth_is_javascripts(value, truthy):
    assert javascript.is_truthy(value) is truthy


def test_times_are_utc_with_milliseconds():
    moment = datetime(2026, 1, 31, 13, 0, 0, 7999, timezone(timedelta(hours=1)))
    assert javascript.iso_time(moment) == "2026-01-31T12:00:00.007Z"
