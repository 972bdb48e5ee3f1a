"""Test the contents of entries, for each compression method."""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
import zlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from inflate64 import Deflater

from cloud_executor.zip_reader.content import DEFLATE64, LZMA, entry_content
from cloud_executor.zip_reader.directory import ZipEntry, open_directory
from cloud_executor.zip_reader.errors import DecoderMissing, EntryDamaged, Unsupported

METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
DEFLATE64_ZIP = Path(__file__).parents[2] / "data" / "deflate64.zip"


def zip_of(content: bytes, method: int) -> tuple[io.BytesIO, ZipEntry]:
    buffer = io.BytesIO()
    packed = content if method == DEFLATE64 else None
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED if packed is not None else method) as archive:
        if packed is not None:
            deflater = Deflater()
            packed = deflater.deflate(content) + deflater.flush()
        archive.writestr("data", content if packed is None else packed)
    entry = next(open_directory(buffer).entries())
    if packed is not None:
        entry = replace(entry, method=DEFLATE64, size=len(content), crc32=zlib.crc32(content))
    return buffer, entry


def unpacked(source: io.BytesIO, entry: ZipEntry) -> bytes:
    return b"".join(entry_content(source, entry, "'data'"))


@pytest.mark.parametrize("method", [*METHODS, DEFLATE64])
@pytest.mark.parametrize(
    "content",
    [b"", b"x", os.urandom(600_000), bytes(30_000_000), b"ab" * 400_000],
    ids=["empty", "one byte", "random", "zeros", "repeated"],
)
def test_contents_are_unpacked(method: int, content: bytes) -> None:
    assert unpacked(*zip_of(content, method)) == content


def test_deflate64_as_windows_packs_it() -> None:
    with DEFLATE64_ZIP.open("rb") as source:
        found = {
            entry.stored_name: b"".join(entry_content(source, entry, "")) for entry in open_directory(source).entries()
        }
    assert len(found[b"data.txt"]) == 300_000
    assert json.loads(found[b"executor_config.json"])["cmd"]


@pytest.mark.parametrize("method", [*METHODS, DEFLATE64])
@pytest.mark.parametrize("change", [{"size": 10}, {"size": 10**7}, {"crc32": 1}, {"packed_size": 100}])
def test_wrong_fields_are_damage_and_yield_no_more_than_stated(method: int, change: dict[str, int]) -> None:
    source, entry = zip_of(bytes(200_000) + os.urandom(1000), method)
    entry = replace(entry, **change)  # type: ignore[arg-type]
    size = 0
    with pytest.raises(EntryDamaged, match="The file 'data' in the source is damaged"):
        for chunk in entry_content(source, entry, "'data'"):
            size += len(chunk)
    assert size <= entry.size


@pytest.mark.parametrize("method", [*METHODS, DEFLATE64])
def test_any_damage_is_noticed(method: int) -> None:
    content = os.urandom(200) + b"a" * 5000
    source, entry = zip_of(content, method)
    good = source.getvalue()
    start = entry.offset + 34
    for place in range(start, start + entry.packed_size, 3):
        source.seek(0)
        source.write(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
        with suppress(EntryDamaged):
            assert unpacked(source, entry) == content


def test_no_chunk_is_large() -> None:
    for method in METHODS:
        assert max(map(len, entry_content(*zip_of(bytes(30_000_000), method), "'data'"))) <= 256 * 1024
    assert max(map(len, entry_content(*zip_of(bytes(30_000_000), DEFLATE64), "'data'"))) < 30_000_000


def test_a_large_lzma_dictionary_is_rejected() -> None:
    source, entry = zip_of(b"x" * 1000, LZMA)
    place = entry.offset + 34 + 5
    source.seek(place)
    source.write(b"\xff" * 4)
    # A dictionary that the content cannot fill takes no memory.
    assert unpacked(source, entry) == b"x" * 1000
    with pytest.raises(Unsupported, match="LZMA dictionary above 64 MiB"):
        unpacked(source, replace(entry, size=2**32))


def test_the_client_can_do_without_the_decoder_of_deflate64(monkeypatch: pytest.MonkeyPatch) -> None:
    source, entry = zip_of(b"x", DEFLATE64)
    monkeypatch.setitem(sys.modules, "inflate64", None)
    with pytest.raises(DecoderMissing):
        unpacked(source, entry)
