"""Test the names of files in zips."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloud_executor.model.blobs.zip_names import MAX_NAME_BYTES, short_name, zip_names

names = st.text(st.characters(exclude_categories=(), exclude_characters="\0"), max_size=30)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("dir/a.txt", "dir/a.txt"),
        ("/absolute", "absolute"),
        ("//a//b", "a/b"),
        ("../../up", "up"),
        ("a/../../up", "a/up"),
        ("./here/.", "here"),
        ("back\\slash", "back/slash"),
        ("..\\up", "up"),
        ("C:\\win", "win"),
        ("C:win", "win"),
        ("c:/D:/../x", "x"),
        ("/C:/x", "x"),
        ("a/C:", "a/C:"),
        (".hidden", ".hidden"),
        ("...", "..."),
        ("trail. ", "trail. "),
        *((nothing, "unnamed") for nothing in ("", "/", ".", "..", "C:", "../..", "\\")),
    ],
)
def test_a_name_stays_inside_the_folder(path: str, name: str) -> None:
    assert short_name(path) == name


@given(names)
def test_no_name_leaves_the_folder(path: str) -> None:
    name = short_name(path)
    assert not {"", ".", ".."} & set(name.split("/"))
    assert "\\" not in name
    assert name[1:2] != ":" or not name[0].isascii() or not name[0].isalpha()
    assert short_name(name) == name


LONG = "x" * 70_000


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["a:b", "x"], ["b", "x"]),
        (["a:b", "b", "c:b"], ["a:b", "b", "c:b"]),
        (["a:b", "c:b"], ["a:b", "c:b"]),
        (["a\\b", "a/b"], ["a\\b", "a/b"]),
        (["a\\b", "a/c"], ["a/b", "a/c"]),
        # A file and a folder of the same name would exclude each other.
        (["a:b", "b/c"], ["a:b", "b/c"]),
        (["b", "a:b/c"], ["b", "a:b/c"]),
        (["a:b", "c:b/d"], ["a:b", "c:b/d"]),
        # These paths cannot be names, because they lead out of the folder on some system.
        (["../up.txt", "up.txt"], ["up (2).txt", "up.txt"]),
        (["/up", "up", "//up"], ["up (2)", "up", "up (3)"]),
        (["..\\up", "C:\\up", "up"], ["up (2)", "up (3)", "up"]),
        (["/up", "up", "up (2)"], ["up (3)", "up", "up (2)"]),
        (["a//.x", "a/.x"], ["a/.x (2)", "a/.x"]),
        # Readers cut a name at a zero, and a zip holds no lone surrogates.
        (["a\0b", "a\0c", "a"], ["a?b", "a?c", "a"]),
        (["\ud800", "\ud801", "?"], ["? (2)", "? (3)", "?"]),
        (["", ".", "unnamed"], ["unnamed (2)", "unnamed (3)", "unnamed"]),
        ([], []),
    ],
)
def test_names_are_shortened_only_where_nothing_collides(paths: list[str], expected: list[str]) -> None:
    assert zip_names(paths) == expected


def test_names_that_are_cut_off_stay_different() -> None:
    found = zip_names([LONG + "1", LONG + "2"])
    assert len(set(found)) == 2
    assert all(len(name) <= MAX_NAME_BYTES for name in found)


pieces = st.lists(st.sampled_from(["a", "b", "/", "\\", ":", ".", "..", "\0", "\ud800", "?", " (2)"]), max_size=6)


@given(st.lists(pieces.map("".join), unique=True, max_size=12))
@example(["a (2)", "/a", "a", "//a"])
def test_no_two_files_share_a_name_and_valid_names_are_kept(paths: list[str]) -> None:
    found = zip_names(paths)
    assert len({name.encode() for name in found}) == len(paths)
    for path, name in zip(paths, found, strict=True):
        assert not {"", ".", ".."} & set(name.split("/"))
        if path == short_name(path) and path.isprintable():
            assert name == path
