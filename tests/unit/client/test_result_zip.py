"""Test that results are extracted into the folder and nowhere else."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest

from cloud_executor.client.errors import InvalidResult
from cloud_executor.client.result_zip import unpack


def zip_of(files: dict[str, bytes], mode: int = 0) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo()
            member.filename = name  # the constructor would sanitize the name
            member.external_attr = mode << 16
            archive.writestr(member, content)
    return buffer


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_extracted_files_equal_the_packed_files(tmp_path: Path) -> None:
    files = {"a.txt": b"a", "deep/er/b": b"\0" * 3_000_000, "ü": b"", "back\\slash": b"x", "..a/b..": b"dots"}
    stored = unpack(zip_of({**files, "folder/": b""}), tmp_path)
    assert tree(tmp_path) == files
    assert stored == {tmp_path / name for name in files}


def test_existing_files_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old and longer")
    (tmp_path / "other").write_text("stays")
    unpack(zip_of({"a": b"new"}), tmp_path)
    assert tree(tmp_path) == {"a": b"new", "other": b"stays"}


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/out", "..", "a/..", "//out"])
def test_a_name_outside_the_folder_is_rejected_before_anything_is_written(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    with pytest.raises(InvalidResult, match="cannot be stored inside a folder"):
        unpack(zip_of({"first": b"x", name: b"evil"}), folder)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_rejected(tmp_path: Path, kind: int) -> None:
    with pytest.raises(InvalidResult):
        unpack(zip_of({"link": b"/etc"}, kind | 0o777), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_zip_is_reported_and_leaves_no_partial_file(tmp_path: Path) -> None:
    damaged = zip_of({"good": b"good", "bad": b"b" * 1000}).getvalue().replace(b"b" * 1000, b"c" * 1000)
    with pytest.raises(InvalidResult, match="damaged"):
        unpack(io.BytesIO(damaged), tmp_path)
    assert tree(tmp_path) == {"good": b"good"}
    with pytest.raises(InvalidResult, match="damaged"):
        unpack(io.BytesIO(b"not a zip"), tmp_path)
