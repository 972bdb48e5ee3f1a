"""File names: bytes in the file system, strings in the protocol."""

from __future__ import annotations

import os
from collections.abc import Iterable

_SHOWN_CHARACTERS = 100


def native_name(name: str) -> str:
    """Convert a name of the protocol to one for the file system, which is UTF-8 regardless of the locale."""
    return os.fsdecode(name.encode("utf-8", "replace"))


def protocol_name(name: str) -> str:
    """Decode a name for display and storage: as UTF-8, or else as Latin-1."""
    stored = os.fsencode(name)
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored.decode("latin-1")


def distinct_names(names: Iterable[str]) -> dict[str, str]:
    """The protocol's name of each name of the file system, all different.

    If another file has the name that Latin-1 would give, the bytes that are not ASCII are escaped, as in `%E9`.
    """
    decoded = {name: protocol_name(name) for name in names}
    others = {name for name, shown in decoded.items() if os.fsencode(name) != shown.encode()}
    taken = {shown for name, shown in decoded.items() if name not in others}
    for name in sorted(others):
        if decoded[name] in taken:
            escaped = "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in os.fsencode(name))
            while escaped in taken:
                escaped += "_"
            decoded[name] = escaped
        taken.add(decoded[name])
    return decoded


def quoted_name(name: str) -> str:
    """Quote a name, in either form, for use in a sentence."""
    shown = name if len(name) <= _SHOWN_CHARACTERS else name[:_SHOWN_CHARACTERS] + "…"
    return (
        "'"
        + "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in shown)
        + "'"
    )
