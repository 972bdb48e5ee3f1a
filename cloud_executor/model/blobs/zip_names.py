"""Names of an artifact's files in its zip (docs/protocol.md: Zips). The client restores the files' paths with it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

MAX_NAME_BYTES = 0xFFFF
"""Longest name that a zip can hold, in bytes."""

_ROOT = re.compile(r"^(?:[A-Za-z]:|\.{0,2}/)+")
_LEADS_OUT = re.compile(r"^(?:[A-Za-z]:)?[\\/]|(?:^|[\\/])\.\.(?:[\\/]|$)")
_NUMBER_ROOM = 32
"""Bytes that stay free for a number in a name that is cut off."""


def short_name(path: str) -> str:
    """The path without root, drive, and `..`, so that it stays inside the folder into which it is unpacked."""
    inside = _ROOT.sub("", path.replace("\\", "/"))
    return _without_steps(inside)


def zip_names(paths: Sequence[str]) -> list[str]:
    """The name of each path, which must be distinct, in the same order. No two names are the same.

    A path that is a valid name keeps it. The other paths are shortened, unless the short name is also the name, or a
    folder, of another file: then the whole path is the name, unless it leads out of the folder on some system. A number
    makes other names different.
    """
    short = [_encodable(short_name(path)) for path in paths]
    if all(map(str.__eq__, short, paths)):
        return short
    exact = {name for name, path in zip(short, paths, strict=True) if name == path}
    ambiguous = _ambiguous(short)
    taken = exact | {name for name in short if name not in ambiguous}
    names = []
    for name, path in zip(short, paths, strict=True):
        if name == path or name not in ambiguous:
            names.append(name)
        else:
            names.append(_free(name if _LEADS_OUT.search(path) else _encodable(_without_steps(path)), taken))
            taken.add(names[-1])
    return names


def _without_steps(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", ".", "..")) or "unnamed"


def _encodable(name: str) -> str:
    """The name as every reader gets it: without lone surrogates and zeros, at which readers cut, and not too long."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        encoded = name.encode("utf-8", "replace")
    if len(encoded) > MAX_NAME_BYTES:
        encoded = encoded[: MAX_NAME_BYTES - _NUMBER_ROOM]
    return encoded.replace(b"\0", b"?").decode("utf-8", "ignore")


def _ambiguous(names: Iterable[str]) -> set[str]:
    """The names that occur more than once, are a folder of another name, or have another name as a folder."""
    found: set[str] = set()
    folders: list[str] = []
    # The zero sorts before all other characters, so a name comes directly before the names below it.
    for name in sorted(name.replace("/", "\0") for name in names):
        while folders and name != folders[-1] and not name.startswith(folders[-1] + "\0"):
            folders.pop()
        if folders:
            found.update((folders[-1].replace("\0", "/"), name.replace("\0", "/")))
        folders.append(name)
    return found


def _free(name: str, taken: set[str]) -> str:
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        folder, slash, last = name.rpartition("/")
        stem, _, suffix = last.rpartition(".")
        numbered = f"{stem} ({number}).{suffix}" if stem else f"{last} ({number})"
        candidate = folder + slash + numbered
    return candidate
