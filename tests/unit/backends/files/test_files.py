"""The files of a FileObjectStore. tests/contract/ covers what all object stores have in common."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stored_files import all_files

from cloud_executor.backends.files import FileObjectStore
from cloud_executor.ports import ObjectNotFound

KEY = "wg-content/ab/cdef"


def test_a_key_is_the_path_below_the_root(store: FileObjectStore, root: Path) -> None:
    store.put(KEY, [b"bytes"])
    assert (root / "wg-content" / "ab" / "cdef").read_bytes() == b"bytes"
    assert all_files(root) == [KEY]


def test_a_webgme_folder_is_read_unchanged(store: FileObjectStore, root: Path) -> None:
    for key in ("wg-content/ab/cd", "wg-metadata/ef/01"):
        path = root / key
        path.parent.mkdir(parents=True)
        path.write_bytes(key.encode())
        os.utime(path, (1_700_000_000, 1_700_000_000.25))
    assert [info.key for info in store.list("wg-")] == ["wg-content/ab/cd", "wg-metadata/ef/01"]
    assert store.read("wg-metadata/ef/01")[0] == b"wg-metadata/ef/01"
    assert store.stat("wg-content/ab/cd").modified.timestamp() == 1_700_000_000.25


def test_other_files_in_the_folder_are_ignored(store: FileObjectStore, root: Path) -> None:
    store.put(KEY, [b"bytes"])
    (root / "wg-content" / "empty").mkdir()
    (root / "wg-content" / "dangling").symlink_to("nowhere")
    assert [info.key for info in store.list("wg-content/")] == [KEY]
    for key in ("wg-content/empty", "wg-content/dangling", "wg-content/" + "x" * 300):
        with pytest.raises(ObjectNotFound):
            store.stat(key)
        with pytest.raises(ObjectNotFound):
            store.open(key)
        with pytest.raises(ObjectNotFound):
            store.read(key)


@pytest.mark.parametrize(
    "key", ["../x", "wg-content/../../x", "/etc/passwd", "a//b", "a/./b", "..", ".", "", "/", "a/", "a\0b"]
)
def test_a_key_outside_the_root_is_rejected(store: FileObjectStore, root: Path, key: str) -> None:
    uses: list[Callable[[], object]] = [
        lambda: store.put(key, [b"x"]),
        lambda: store.put_all({"fine": b"x", key: b"x"}),
        lambda: store.open(key),
        lambda: store.read(key),
        lambda: store.stat(key),
        lambda: store.move(key, "x"),
        lambda: store.move("x", key),
        lambda: store.delete(key),
    ]
    for use in uses:
        with pytest.raises(ValueError, match="below the root"):
            use()
    assert not root.exists() or all_files(root) == []


@pytest.mark.parametrize("prefix", ["../", "a/../b", "/", "/etc/", "a//"])
def test_a_prefix_outside_the_root_is_rejected(store: FileObjectStore, prefix: str) -> None:
    with pytest.raises(ValueError, match="below the root"):
        store.list(prefix)


def test_a_crash_during_a_put_leaves_at_most_an_abandoned_upload(
    store: FileObjectStore, root: Path, unnamed_files: bool
) -> None:
    def chunks() -> Iterator[bytes]:
        yield bytes(10)
        assert len(all_files(root)) == len(list(store.list("wg-temp/"))) == (0 if unnamed_files else 1)

    store.put(KEY, chunks())
    assert list(store.list("wg-temp/")) == []


def test_an_open_object_can_be_sent_with_sendfile(store: FileObjectStore) -> None:
    store.put(KEY, [b"0123456789"])
    ours, theirs = socket.socketpair()
    with ours, theirs, store.open(KEY, 4) as stream:
        assert os.lseek(stream.fileno(), 0, os.SEEK_CUR) == 4
        assert os.sendfile(ours.fileno(), stream.fileno(), None, 100) == 6
        assert theirs.recv(100) == b"456789"
