"""Names of files as the file system has them, bytes, and as the protocol has them, text."""

from __future__ import annotations

import os

_SHOWN_CHARACTERS = 100


def native_name(name: str) -> str:
    """A name of the protocol as the file system takes it: in UTF-8, whatever the locale."""
    return os.fsdecode(name.encode("utf-8", "replace"))


def text_name(name: str) -> str:
    """The name as it is shown and stored: UTF-8, or else Latin-1, by which other names are told apart too."""
    stored = os.fsencode(name)
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored.decode("latin-1")


def quoted_name(name: str) -> str:
    """A name, in either form, within a sentence."""
    shown = name if len(name) <= _SHOWN_CHARACTERS else name[:_SHOWN_CHARACTERS] + "…"
    return (
        "'"
        + "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in shown)
        + "'"
    )
