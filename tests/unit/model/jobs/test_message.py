"""The format of queue messages."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_executor.model.jobs.message import InvalidMessage, decode_message, encode_message


@given(st.text(st.characters(codec=None)))
def test_any_job_id_survives_a_round_trip(job_hash: str) -> None:
    assert decode_message(encode_message(job_hash)) == job_hash


def test_separate_surrogates_are_not_combined() -> None:
    assert decode_message(encode_message("\ud83d\ude00")) == "\ud83d\ude00"


def test_message_is_json_with_the_hash() -> None:
    assert json.loads(encode_message("ü")) == {"hash": "ü"}


@pytest.mark.parametrize("data", [b"", b"abc", b"[]", b"{}", b'{"hash": 1}', b'"x"', b"\xff", b"null"])
def test_message_without_a_job_is_rejected(data: bytes) -> None:
    with pytest.raises(InvalidMessage):
        decode_message(data)
