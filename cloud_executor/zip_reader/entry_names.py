"""Names of a zip's entries, as strings whose bytes in UTF-8, with surrogate escapes, are those of the file system."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable
from typing import Literal

from cloud_executor.zip_reader.directory import ZipEntry, extra_fields

DosEncoding = Literal["cp437", "cp932"]

DOS_SYSTEMS = frozenset({0, 10, 11, 14})
UNIX_SYSTEMS = frozenset({3, 19})

_UTF_8_NAME = 0x0800
_UNICODE_PATH = 0x7075
_JAPANESE = "\u3005\u3041-\u30ff\u4e00-\u9fff"
_JAPANESE_RUN = re.compile(f"[{_JAPANESE}]{{2,}}")
_JAPANESE_ALONE = re.compile(f"[{_JAPANESE}]")
_BETWEEN_LETTERS = re.compile(f"[A-Za-z][{_JAPANESE}][A-Za-z]")


def entry_name(entry: ZipEntry, dos_encoding: DosEncoding) -> str:
    """The name with `/` as separator.

    Bytes that are not marked as UTF-8 stay unchanged, as with `unzip`. On DOS and Windows they are decoded with the
    given code page if they are not valid UTF-8.
    """
    stored = _unicode_path(entry) or entry.stored_name
    if entry.system not in DOS_SYSTEMS:
        return stored.decode("utf-8", "surrogateescape")
    return _decode_dos(stored, entry, dos_encoding).replace("\\", "/")


def find_dos_encoding(entries: Iterable[ZipEntry]) -> DosEncoding:
    """The code page of the names that Windows stored: Shift JIS if all can be read that way and some look Japanese.

    Zips do not say. In Western names, single letters outside ASCII stand between ASCII letters; read as Shift JIS, they
    would swallow the next letter and give one Japanese character.
    """
    is_japanese = False
    for entry in entries:
        name = entry.stored_name
        if entry.system not in DOS_SYSTEMS or entry.flags & _UTF_8_NAME or _is_utf_8(name):
            continue
        try:
            is_japanese = _looks_japanese(name.decode("cp932")) or is_japanese
        except UnicodeDecodeError:
            return "cp437"
    return "cp932" if is_japanese else "cp437"


def inner_path(name: str) -> str:
    """The path in the folder into which the zip is unpacked; names such as `./a` and `a//b` have redundant parts."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _looks_japanese(name: str) -> bool:
    if _JAPANESE_RUN.search(name):
        return True
    name = _BETWEEN_LETTERS.sub("", name)
    return any(_has_no_western_reading(found[0].encode("cp932")) for found in _JAPANESE_ALONE.finditer(name))


def _has_no_western_reading(character: bytes) -> bool:
    """Whether a character's two bytes are not a letter outside ASCII and the ASCII letter that follows it in a word."""
    following = character[1:]
    return not following.isalpha() or (following.isupper() and character[:1].decode("cp437").islower())


def _decode_dos(stored: bytes, entry: ZipEntry, dos_encoding: DosEncoding) -> str:
    if entry.flags & _UTF_8_NAME or _is_utf_8(stored):
        return stored.decode("utf-8", "surrogateescape")
    return stored.decode(dos_encoding)


def _is_utf_8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _unicode_path(entry: ZipEntry) -> bytes | None:
    """The UTF-8 name that Info-ZIP adds to the stored one, if it belongs to that."""
    stated = b"\1" + struct.pack("<L", zlib.crc32(entry.stored_name))
    for kind, content in extra_fields(entry.extra):
        if kind == _UNICODE_PATH and content[:5] == stated and _is_utf_8(content[5:]):
            return content[5:]
    return None
