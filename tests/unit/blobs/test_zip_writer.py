from __future__ import annotations

import io
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_executor.blobs import zip_writer as zip_archive
from cloud_executor.blobs.zip_writer import SizeChanged, ZipMember, archive_chunks, archive_size
from cloud_executor.model.blobs.zip_names import short_name

MIB = 1024 * 1024
GIB = 1024 * MIB
BLOCK = bytes(MIB)


def member(name: str, content: bytes, chunk_bytes: int = 1000) -> ZipMember:
    def read() -> Iterator[bytes]:
        for start in range(0, len(content), chunk_bytes):
            yield content[start : start + chunk_bytes]

    return ZipMember(name, len(content), read)


def zeros(name: str, size: int) -> ZipMember:
    def read() -> Iterator[bytes]:
        for start in range(0, size, MIB):
            yield BLOCK[: min(MIB, size - start)]

    return ZipMember(name, size, read)


def joined(members: Sequence[ZipMember]) -> bytes:
    return b"".join(archive_chunks(members))


def contents(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


def write_sparse(path: Path, members: Sequence[ZipMember]) -> None:
    """Write an archive as a sparse file, whose zeros take no disk space."""
    with path.open("wb") as file:
        for chunk in archive_chunks(members):
            if chunk == BLOCK:
                file.seek(len(chunk), io.SEEK_CUR)
            else:
                file.write(chunk)
        file.truncate()


names = st.text(st.characters(exclude_categories=(), exclude_characters="\0"), max_size=30)


@settings(max_examples=60)
@given(
    files=st.dictionaries(names.map(short_name), st.binary(max_size=300), max_size=5),
    whole_limit=st.sampled_from([0, 100, MIB]),
    flush_bytes=st.sampled_from([1, 64, MIB]),
)
def test_an_archive_contains_its_members_and_has_the_announced_size(
    files: dict[str, bytes], whole_limit: int, flush_bytes: int
) -> None:
    files = {name: content for name, content in files.items() if not any("\ud800" <= c <= "\udfff" for c in name)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zip_archive, "WHOLE_LIMIT", whole_limit)
        patch.setattr(zip_archive, "FLUSH_BYTES", flush_bytes)
        members = [member(name, content, 7) for name, content in files.items()]
        archive = joined(members)
        assert len(archive) == archive_size(members)
    assert contents(archive) == files


def test_unzip_accepts_members_of_every_size(tmp_path: Path) -> None:
    sizes = [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB]
    members = [member(f"dir/{size} ü😀.bin", bytes(size), 64 * 1024) for size in sizes]
    path = tmp_path / "archive.zip"
    path.write_bytes(joined(members))
    subprocess.run(["unzip", "-tqq", str(path)], check=True)
    assert {name: len(content) for name, content in contents(path.read_bytes()).items()} == {
        found.name: found.size for found in members
    }


def test_an_archive_without_members_is_22_bytes() -> None:
    assert len(joined([])) == archive_size([]) == 22
    assert contents(joined([])) == {}


def test_the_same_members_always_give_the_same_bytes() -> None:
    members = [member("a", b"x" * 10), member("b", bytes(2 * MIB))]
    assert joined(members) == joined(members)


def test_members_are_regular_files_with_utf_8_names() -> None:
    with zipfile.ZipFile(io.BytesIO(joined([member("漢.txt", b"x")]))) as opened:
        (entry,) = opened.infolist()
    assert entry.filename == "漢.txt"
    assert entry.flag_bits & 0x800
    assert entry.external_attr >> 16 == 0o100644
    assert entry.compress_type == zipfile.ZIP_STORED
    assert entry.create_version == 20


@pytest.mark.parametrize("count", [65_534, 65_535, 65_536])
def test_a_member_count_around_the_limit_of_the_plain_format(tmp_path: Path, count: int) -> None:
    members = [member(str(number), b"") for number in range(count)]
    path = tmp_path / "many.zip"
    path.write_bytes(joined(members))
    assert path.stat().st_size == archive_size(members)
    with zipfile.ZipFile(path) as opened:
        assert len(opened.namelist()) == count
        assert opened.namelist()[-1] == str(count - 1)
    subprocess.run(["unzip", "-tqq", str(path)], check=True)


@pytest.mark.parametrize("size", [4 * GIB - 2, 4 * GIB - 1, 4 * GIB + 5])
def test_a_member_size_around_the_limit_of_the_plain_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(zip_archive, "zlib", ZlibOfBlocks)
    members = [zeros("large.bin", size), member("after.txt", b"after"), zeros("last.bin", 2 * MIB)]
    path = tmp_path / "large.zip"
    write_sparse(path, members)
    assert path.stat().st_size == archive_size(members)
    with zipfile.ZipFile(path) as opened:
        large, after, last = opened.infolist()
        assert (large.file_size, large.compress_size, large.CRC) == (size, size, crc_of_zeros(size))
        assert opened.read("after.txt") == b"after"
        assert opened.read("last.bin") == bytes(2 * MIB)
    # The data descriptor after the large member has its size and CRC, for readers that unpack from a pipe.
    crc = large.CRC.to_bytes(4, "little")
    sizes = size.to_bytes(8 if size >= 4 * GIB - 1 else 4, "little") * 2
    descriptor = b"PK\x07\x08" + crc + sizes
    with path.open("rb") as file:
        file.seek(after.header_offset - len(descriptor))
        assert file.read(len(descriptor)) == descriptor
    listed = subprocess.run(["zipinfo", "-l", str(path)], check=True, capture_output=True, text=True).stdout
    assert f" {size} " in listed
    assert "warning" not in listed
    subprocess.run(["unzip", "-tqq", str(path), after.filename, last.filename], check=True)


class ZlibOfBlocks:
    """A zlib that remembers the CRCs of sequences of blocks: each of them takes seconds."""

    @staticmethod
    def crc32(data: bytes, crc: int = 0) -> int:
        return crc_after_block(crc) if data is BLOCK else zlib.crc32(data, crc)


@cache
def crc_after_block(crc: int) -> int:
    return zlib.crc32(BLOCK, crc)


def crc_of_zeros(size: int) -> int:
    crc = 0
    for _ in range(size // MIB):
        crc = crc_after_block(crc)
    return zlib.crc32(bytes(size % MIB), crc)


def test_archive_size_does_not_read_the_members() -> None:
    def read() -> Iterator[bytes]:
        raise AssertionError("the bytes must not be read")

    huge = 2**50
    once, twice = (archive_size([ZipMember("x", huge, read)] * count) for count in (1, 2))
    assert huge < once < huge + 1000
    assert 2 * huge < twice < 2 * huge + 1000


@pytest.mark.parametrize("size", [5, 2 * MIB])
@pytest.mark.parametrize("difference", [-1, 1])
def test_a_member_with_a_wrong_size_is_an_error(size: int, difference: int) -> None:
    given_bytes = bytes(size + difference)
    with pytest.raises(SizeChanged):
        joined([ZipMember("x", size, lambda: iter([given_bytes]))])


def test_a_large_member_is_sent_while_it_is_read() -> None:
    reads = 0

    def read() -> Iterator[bytes]:
        nonlocal reads
        for _ in range(100):
            reads += 1
            yield BLOCK

    chunks = archive_chunks([ZipMember("x", 100 * MIB, read)])
    assert next(chunks).startswith(b"PK")
    assert reads <= 1
    assert len(next(chunks)) >= MIB
    assert reads == 1


def test_members_are_read_one_after_the_other() -> None:
    opened: list[str] = []

    def reader(name: str) -> Callable[[], Iterator[bytes]]:
        def read() -> Iterator[bytes]:
            opened.append(name)
            yield BLOCK

        return read

    chunks = archive_chunks([ZipMember(name, MIB, reader(name)) for name in ("a", "b", "c")])
    next(chunks)
    assert opened == ["a"]
