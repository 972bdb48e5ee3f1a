"""Test the zip that the client makes from a folder."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from pathlib import Path

import pytest

from cloud_executor.client.errors import InvalidSource
from cloud_executor.client.source.packing import write_zip


def packed(folder: Path) -> bytes:
    target = io.BytesIO()
    write_zip(folder, target)
    return target.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "job"
    (found / "b" / "empty").mkdir(parents=True)
    (found / "b" / "x").write_bytes(b"x" * 100_000)
    (found / "b.txt").write_text("b")
    (found / ".hidden").write_text("")
    (found / "ü 😀").write_text("name")
    (found / "tool").write_text("#!/bin/sh\n")
    (found / "tool").chmod(0o754)
    (found / "link").symlink_to("b/x")
    (found / "b" / "up").symlink_to("..")
    (found / "dangling").symlink_to("later")
    return found


def test_the_zip_contains_the_whole_folder(folder: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(packed(folder))) as archive:
        members = {member.filename: member for member in archive.infolist()}
        assert list(members) == [
            ".hidden",
            "b/",
            "b/empty/",
            "b/up",
            "b/x",
            "b.txt",
            "dangling",
            "link",
            "tool",
            "ü 😀",
        ]
        assert archive.read("b/x") == b"x" * 100_000
        assert (archive.read("link"), archive.read("b/up"), archive.read("dangling")) == (b"b/x", b"..", b"later")
        modes = {name: stat.filemode(member.external_attr >> 16) for name, member in members.items()}
    assert modes["tool"] == "-rwxr-xr-x"
    assert modes["b.txt"] == "-rw-r--r--"
    assert modes["b/empty/"] == "drwxr-xr-x"
    assert modes["link"] == "lrwxrwxrwx"


def test_the_same_files_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    first = packed(folder)
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in sorted(folder.rglob("*"), reverse=True):
        target = copy / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            target.symlink_to(os.readlink(path))
        elif path.is_dir():
            target.mkdir(exist_ok=True)
        else:
            target.write_bytes(path.read_bytes())
            # Permissions of other users and modification times differ between machines.
            target.chmod(path.stat().st_mode & 0o700)
            os.utime(target, (0, 0))
    assert packed(copy) == first


def test_write_zip_counts_files_and_links(folder: Path) -> None:
    assert write_zip(folder, io.BytesIO()) == 8


def test_large_files_use_zip64(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 50_000)
    content = packed(folder)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.getinfo("b/x").extract_version >= zipfile.ZIP64_VERSION
        assert archive.testzip() is None


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside", "b/../../outside", "../job/../outside"])
def test_a_link_out_of_the_folder_is_rejected(folder: Path, target: str) -> None:
    (folder.parent / "outside").write_text("private")
    (folder / "out").symlink_to(target)
    with pytest.raises(InvalidSource, match="out is a link that leads out of the folder"):
        packed(folder)


def test_a_link_with_an_absolute_target_is_rejected(folder: Path) -> None:
    (folder / "full").symlink_to(folder / "b.txt")
    with pytest.raises(InvalidSource, match="full is a link"):
        packed(folder)


def test_a_pipe_is_rejected(folder: Path) -> None:
    os.mkfifo(folder / "b" / "pipe")
    with pytest.raises(InvalidSource, match="b/pipe is a device, a pipe, or a socket"):
        packed(folder)


def test_a_name_that_is_not_utf_8_is_rejected(folder: Path) -> None:
    Path(os.fsdecode(bytes(folder / "b") + b"/caf\xe9")).touch()
    with pytest.raises(InvalidSource, match=r"The file name b/caf\\xe9 is not valid UTF-8"):
        packed(folder)


@pytest.mark.parametrize("change", [b"", b"much more than before"])
def test_a_file_that_changes_while_it_is_packed_is_rejected(folder: Path, change: bytes) -> None:
    class Target(io.BytesIO):
        def write(self, content: object) -> int:
            # The size of the file has been read by then.
            if b"b.txt" in bytes(content):  # type: ignore[call-overload]
                (folder / "b.txt").write_bytes(change)
            return super().write(content)  # type: ignore[arg-type]

    with pytest.raises(InvalidSource, match=r"b\.txt was changed while it was being packed"):
        write_zip(folder, Target())
