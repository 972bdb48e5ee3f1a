"""Keys of what users name: two users can give the same id to different jobs, and the same name to different workers.

A guest's key is the id itself, as it was before there were users.
"""

from __future__ import annotations

from cloud_executor.errors import Invalid

GUEST = "guest"
"""User id of callers that send no credential of their own."""

_MARK = "\0user\0"
"""Beginning of the keys of all users but the guest."""


def key_of(user_id: str, given_id: str) -> str:
    """The key of what this user calls `given_id`. Raises Invalid for an id of a guest that is another user's key."""
    if user_id != GUEST:
        return f"{_MARK}{user_id}\0{given_id}"
    if given_id.startswith(_MARK):
        raise Invalid("An id must not start with a NUL character.")
    return given_id


def owner_in(key: str) -> str:
    """The owner of this key."""
    return key.removeprefix(_MARK).partition("\0")[0] if key.startswith(_MARK) else GUEST


def id_in(key: str) -> str:
    """The id that the owner of this key gave."""
    return key.removeprefix(_MARK).partition("\0")[2] if key.startswith(_MARK) else key
