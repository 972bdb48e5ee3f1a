from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_executor.model.access import token as tokens


@given(st.binary(min_size=32, max_size=32))
def test_a_token_has_one_form(secret: bytes) -> None:
    token = tokens.token_of(secret)
    assert len(token) == 53
    assert token.startswith("cex_")
    assert tokens.is_well_formed(token)


def test_known_tokens_stay_valid() -> None:
    assert tokens.token_of(bytes(32)) == "cex_" + "0" * 43 + "2CZclj"
    assert tokens.digest_of("cex_x", "pepper") == "acf69129ce3ed642e529ac0d59a89a9018e401d63c74ea1372cc1ed65e03baf0"


@given(st.binary(min_size=32, max_size=32), st.integers(0, 52), st.sampled_from("0aZ_-é \0"))
def test_a_mistyped_token_is_recognized(secret: bytes, place: int, character: str) -> None:
    token = tokens.token_of(secret)
    mistyped = token[:place] + character + token[place + 1 :]
    assert tokens.is_well_formed(mistyped) is (mistyped == token)
    assert not tokens.is_well_formed(token[:place])
    assert not tokens.is_well_formed(token + character)


@pytest.mark.parametrize("user", ["ada", "ada@example.org", "a.b+c_d%e-f", "A", "1" * 200])
def test_user_names(user: str) -> None:
    assert tokens.user_name("user", user) == user
