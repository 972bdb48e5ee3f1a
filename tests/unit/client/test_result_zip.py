"""Test that results are extracted into the folder and nowhere else, each file under its own path."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from cloud_executor.client.errors import InvalidResult
from cloud_executor.client.results.folder import staged
from cloud_executor.client.results.tree import ResultTree
from cloud_executor.client.results.unpacking import unpack
from cloud_executor.model.blobs.zip_names import zip_names


def zip_of(files: Iterable[tuple[str, bytes]], mode: int = 0) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files:
            member = zipfile.ZipInfo()
            member.filename = name  # the constructor would sanitize the name
            member.external_attr = mode << 16
            archive.writestr(member, content)
    return buffer


def extract(files: dict[str, bytes], folder: Path, paths: list[str] | None = None) -> list[str]:
    tree = ResultTree(folder)
    left = unpack(zip_of(files.items()), tree, paths)
    tree.close()
    return left


def tree_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_extracted_files_equal_the_packed_files(tmp_path: Path) -> None:
    files = {"a.txt": b"a", "deep/er/b": b"\0" * 3_000_000, "ü": b"", "back\\slash": b"x", "..a/b..": b"dots"}
    assert extract({**files, "folder/": b""}, tmp_path) == []
    assert tree_of(tmp_path) == files


def test_files_get_the_paths_that_the_zip_shortens(tmp_path: Path) -> None:
    paths = ["a:b", "b", "c:b", "d:e", "back\\slash", "\udce9"]
    files = {name: path.encode("utf-8", "surrogateescape") for name, path in zip(zip_names(paths), paths, strict=True)}
    assert extract(files, tmp_path, paths) == []
    assert {os.fsencode(name) for name in os.listdir(tmp_path)} == {os.fsencode(path) for path in paths}
    assert tree_of(tmp_path) == {path: path.encode("utf-8", "surrogateescape") for path in paths}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_occur_twice_in_the_zip_are_left_out(tmp_path: Path) -> None:
    """A WebGME server gives `a:b` and `b` the same name."""
    source = zip_of([("b", b"1"), ("b", b"2"), ("c", b"3")])
    tree = ResultTree(tmp_path)
    assert unpack(source, tree, ["a:b", "b", "c"]) == ["a:b", "b"]
    assert unpack(source, ResultTree(tmp_path / "other"), ["b"]) == ["b"]
    assert tree_of(tmp_path) == {"c": b"3"}


def test_a_file_of_several_artifacts_is_stored_once(tmp_path: Path) -> None:
    tree = ResultTree(tmp_path)
    unpack(zip_of([("a", b"1")]), tree, ["a"])
    unpack(zip_of([("a", b"1"), ("b", b"2")]), tree, ["a", "b"])
    assert len(tree) == 2


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/out", "..", "a/..", "//out", "a//b", "./a", "a/"])
def test_a_name_outside_the_folder_is_rejected_before_anything_is_written(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    files = {"first": b"x", name.rstrip("/") or name: b"evil"}
    with pytest.raises(InvalidResult, match="cannot be stored inside a folder"):
        extract(files, folder, ["first", name])
    assert tree_of(tmp_path) == {}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_rejected(tmp_path: Path, kind: int) -> None:
    with pytest.raises(InvalidResult):
        unpack(zip_of([("link", b"/etc")], kind | 0o777), ResultTree(tmp_path), None)
    assert list(tmp_path.iterdir()) == []


# File systems that cannot hold the files ----------------------------------------------------------------------------


@pytest.fixture
def case_insensitive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that takes `A` and `a` for the same name, and keeps the letters of the first."""
    monkeypatch.setattr(ResultTree, "_location", lambda tree, path: tree._folder / path.lower())


@pytest.mark.usefixtures("case_insensitive")
@pytest.mark.parametrize(("first", "second"), [("a", "A"), ("d/a", "D/b"), ("d/a", "d/A"), ("a", "A/b"), ("a/b", "A")])
def test_names_that_the_file_system_cannot_keep_apart(tmp_path: Path, first: str, second: str) -> None:
    tree = ResultTree(tmp_path)
    tree.add(first, [b"1"])
    with pytest.raises(InvalidResult, match="cannot hold both"):
        tree.add(second, [b"2"])


def test_a_name_that_the_file_system_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ResultTree, "_location", lambda tree, path: tree._folder / path.replace("é", "e"))
    tree = ResultTree(tmp_path)
    tree.add("d/é", [b"1"])
    with pytest.raises(InvalidResult, match="does not keep the name 'd/é'"):
        tree.close()


@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a")])
def test_a_file_and_a_folder_with_the_same_name(tmp_path: Path, first: str, second: str) -> None:
    tree = ResultTree(tmp_path)
    tree.add(first, [b"1"])
    with pytest.raises(InvalidResult, match="both a file and a folder 'a'"):
        tree.add(second, [b"2"])


@pytest.mark.parametrize(
    ("path", "message"),
    [("x" * 300, "file name too long"), ("\ud800", "not valid"), ("a\0b", "cannot be stored inside")],
)
def test_a_name_that_the_file_system_rejects(tmp_path: Path, path: str, message: str) -> None:
    with pytest.raises(InvalidResult, match=message):
        ResultTree(tmp_path).add(path, [])


@pytest.mark.parametrize("path", ["a:b", "back\\slash", "con", "d/NUL.txt", "trail.", "trail /x", "a?b", "new\nline"])
def test_names_that_windows_does_not_allow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    tree = ResultTree(tmp_path)
    monkeypatch.setattr("os.name", "nt")
    with pytest.raises(InvalidResult, match="Windows does not allow"):
        tree.add(path, [])


# Existing files -----------------------------------------------------------------------------------------------------


def publish(folder: Path, name: str) -> None:
    with staged(folder) as staging:
        ResultTree(staging).add(name, [b"new"])


def test_existing_files_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old and longer")
    (tmp_path / "other").write_text("stays")
    publish(tmp_path, "a")
    assert tree_of(tmp_path) == {"a": b"new", "other": b"stays"}


@pytest.mark.parametrize("name", ["a", "a/b"])
def test_an_existing_name_in_other_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    existing = tmp_path / "A" if name == "a" else tmp_path / "A" / "b"
    existing.parent.mkdir(exist_ok=True)
    existing.write_text("old")
    lexists: Callable[[Path], bool] = os.path.lexists
    insensitive = {tmp_path / "a"}
    monkeypatch.setattr("os.path.lexists", lambda path: path in insensitive or lexists(path))
    with pytest.raises(FileExistsError, match="in other letters"):
        publish(tmp_path, name)
    assert tree_of(tmp_path) == {str(existing.relative_to(tmp_path)): b"old"}
