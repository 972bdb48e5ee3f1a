from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_executor.errors import Invalid
from cloud_executor.model.access.owner import GUEST, id_in, key_of, owner_in

USERS = st.one_of(st.just(GUEST), st.text(st.characters(exclude_characters="\0"), min_size=1))


@given(USERS, st.text())
def test_a_key_names_its_owner_and_id(user: str, given_id: str) -> None:
    try:
        key = key_of(user, given_id)
    except Invalid:
        assert (user, given_id.startswith("\0user\0")) == (GUEST, True)
        return
    assert (owner_in(key), id_in(key)) == (user, given_id)
    if user == GUEST:
        assert key == given_id


@pytest.mark.parametrize("key", [key_of("ada", "x"), "\0user\0", "\0user\0x"])
def test_a_guest_has_no_key_of_another_user(key: str) -> None:
    with pytest.raises(Invalid):
        key_of(GUEST, key)
