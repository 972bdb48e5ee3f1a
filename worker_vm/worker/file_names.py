"""File names: bytes in the file system, strings in the protocol."""

from __future__ import annotations

import os

_SHOWN_CHARACTERS = 100


def native_name(name: str) -> str:
    """Convert a name of the protocol to one for the file system, which is UTF-8 regardless of the locale."""
    return os.fsdecode(name.encode("utf-8", "replace"))


def protocol_name(name: str) -> str:
    """Decode a name for display and storage: as UTF-8, or else as Latin-1, which keeps different names different."""
    stored = os.fsencode(name)
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored.decode("latin-1")


def quoted_name(name: str) -> str:
    """Quote a name, in either form, for use in a sentence."""
    shown = name if len(name) <= _SHOWN_CHARACTERS else name[:_SHOWN_CHARACTERS] + "…"
    return (
        "'"
        + "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in shown)
        + "'"
    )
