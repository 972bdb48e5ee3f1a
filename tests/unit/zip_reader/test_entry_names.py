"""Test how the names of entries are decoded."""

from __future__ import annotations

import struct
import zlib

import pytest

from cloud_executor.zip_reader.directory import ZipEntry
from cloud_executor.zip_reader.entry_names import entry_name, find_dos_encoding, inner_path

DOS, UNIX, NTFS = 0, 3, 11
UTF_8 = 0x0800


def entry(name: bytes, system: int = DOS, flags: int = 0, extra: bytes = b"") -> ZipEntry:
    return ZipEntry(name, extra, system, flags, 0, 0, 0, 0, 0, 0, 0, 0)


def names(*entries: ZipEntry) -> list[str]:
    encoding = find_dos_encoding(entries)
    return [entry_name(found, encoding) for found in entries]


JAPANESE = ["一覧表.csv", "ソース/能力.txt", "テスト", "表.txt", "データ1.dat", "ひらがな", "2026年.log", "a表\\b"]


@pytest.mark.parametrize("system", [DOS, NTFS])
@pytest.mark.parametrize("name", JAPANESE)
def test_japanese_names_from_windows(name: str, system: int) -> None:
    """In Shift JIS, the second byte of some characters is that of a backslash."""
    assert names(entry(b"plain"), entry(name.encode("cp932"), system)) == ["plain", name.replace("\\", "/")]


def test_one_japanese_name_decides_for_all() -> None:
    assert names(entry("山.txt".encode("cp932")), entry("一覧表".encode("cp932"))) == ["山.txt", "一覧表"]


WESTERN = [
    "können",
    "Größe.txt",
    "café",
    "dépôt",
    "Übung",
    "Straße",
    "naïve",
    "Müller",
    "MÜLLER",
    "año",
    "élève",
    "été",
]


@pytest.mark.parametrize("name", WESTERN)
def test_western_names_from_windows(name: str) -> None:
    assert names(entry(f"dir\\{name}".encode("cp437"))) == [f"dir/{name}"]


def test_a_name_that_is_not_japanese_decides_for_all() -> None:
    found = names(entry("表.txt".encode("cp932")), entry("é.txt".encode("cp437")))
    assert found[1] == "é.txt"


@pytest.mark.parametrize(("system", "flags"), [(DOS, 0), (DOS, UTF_8), (UNIX, 0), (UNIX, UTF_8)])
def test_names_in_utf_8(system: int, flags: int) -> None:
    assert names(entry("表é".encode(), system, flags)) == ["表é"]


def test_bytes_and_backslashes_from_unix_are_unchanged() -> None:
    assert names(entry(b"caf\xe9\\x", UNIX)) == ["caf\udce9\\x"]


def unicode_path(stored: bytes, name: bytes) -> bytes:
    field = struct.pack("<BL", 1, zlib.crc32(stored)) + name
    return struct.pack("<HH", 0x7075, len(field)) + field


@pytest.mark.parametrize("system", [DOS, UNIX])
def test_a_unicode_path_takes_precedence(system: int) -> None:
    stored = "dir/一覧表".encode("cp932")
    extra = struct.pack("<HH", 1, 2) + b"ab" + unicode_path(stored, "dir/一覧表".encode())
    assert names(entry(stored, system, extra=extra)) == ["dir/一覧表"]


@pytest.mark.parametrize(
    "extra", [unicode_path(b"other", "ü".encode()), unicode_path(b"plain", b"\xff"), b"\x75\x70\xff"]
)
def test_a_unicode_path_of_another_name_or_with_damage_is_ignored(extra: bytes) -> None:
    assert names(entry(b"plain", UNIX, extra=extra)) == ["plain"]


@pytest.mark.parametrize("name", ["a/b", "./a/b", "a//b", "./a/./b/"])
def test_redundant_parts_are_left_out(name: str) -> None:
    assert inner_path(name) == "a/b"
