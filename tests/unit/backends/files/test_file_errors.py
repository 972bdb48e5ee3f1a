"""Errors of the file system, and what a FileObjectStore leaves after them."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stored_files import all_files

from cloud_executor.backends import file_writing
from cloud_executor.backends.files import FileObjectStore
from cloud_executor.errors import StorageFull, Unavailable
from cloud_executor.ports import ObjectNotFound

KEY = "wg-content/ab/cdef"
MIB = 1 << 20


def failing(error: int, times: int, then: Callable[..., object]) -> Callable[..., object]:
    """`then`, except that the first calls, as many as `times`, raise an error."""
    left = times

    def call(*arguments: object, **options: object) -> object:
        nonlocal left
        left -= 1
        if left >= 0:
            raise OSError(error, os.strerror(error))
        return then(*arguments, **options)

    return call


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EIO, Unavailable),
        (errno.EROFS, Unavailable),
        (errno.EACCES, Unavailable),
        (errno.EMFILE, Unavailable),
    ],
)
@pytest.mark.parametrize("call", ["open", "write", "fsync", "link", "mkdir"])
def test_a_system_error_is_translated_and_leaves_nothing(
    store: FileObjectStore,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    error: int,
    expected: type[Exception],
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(error, 1, getattr(os, call)))
        with pytest.raises(expected) as raised:
            store.put(KEY, [b"bytes"])
    assert type(raised.value) is expected
    assert str(root) not in str(raised.value)
    assert not root.exists() or all_files(root) == []
    store.put(KEY, [b"bytes"])
    assert store.read(KEY)[0] == b"bytes"


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_an_error_in_a_background_thread_is_raised(
    store: FileObjectStore, root: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The system reports a write-back error only once, to the first fsync."""
    monkeypatch.setattr(file_writing, "FLUSH_EVERY", 2 * MIB)
    store.put("wg-content/00/first", [b""])
    monkeypatch.setattr(os, call, failing(errno.EIO, 1, getattr(os, call)))
    with pytest.raises(Unavailable):
        store.put(KEY, (bytes(MIB) for _ in range(5)))
    assert all_files(root) == ["wg-content/00/first"]


def test_a_read_error_is_not_a_missing_object(store: FileObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put(KEY, [b"bytes"])
    for call, use in (("stat", store.stat), ("open", store.read)):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing(errno.EIO, 1, getattr(os, call)))
            with pytest.raises(Unavailable):
                use(KEY)


def test_a_full_disk_is_reported_and_nothing_is_left(small_disk: Path) -> None:
    store = FileObjectStore(small_disk / "blobs")
    store.put(KEY, [b"before"])
    for size in (10 * MIB, 40 * MIB):
        with pytest.raises(StorageFull):
            store.put("wg-temp/upload", (bytes(MIB // 4) for _ in range(4 * size // MIB)))
        with pytest.raises(StorageFull):
            store.put_all({"wg-content/00/1": b"small", "wg-content/00/2": bytes(size)})
    assert all_files(small_disk / "blobs") == [KEY]
    store.put("wg-temp/upload", [bytes(MIB)])
    assert store.read(KEY)[0] == b"before"


def test_a_read_only_disk_is_unavailable_for_writes_and_can_be_read(small_disk: Path) -> None:
    store = FileObjectStore(small_disk / "blobs")
    store.put(KEY, [b"before"])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(Unavailable):
        store.put(KEY + "0", [b"x"])
    with pytest.raises(Unavailable):
        store.delete(KEY)
    assert store.read(KEY)[0] == b"before"


@pytest.mark.parametrize("cleared", ["wg-temp", "wg-content", "wg-content/ab", "."])
def test_removed_folders_are_created_again(store: FileObjectStore, root: Path, cleared: str) -> None:
    store.put(KEY, [b"x"])
    shutil.rmtree(root / cleared)
    store.put(KEY, [b"bytes"])
    store.put(KEY + "0", [b"bytes"])
    assert all_files(root) == [KEY, KEY + "0"]


def test_no_file_stays_open(store: FileObjectStore) -> None:
    def use_all() -> None:
        store.put(KEY, [b"bytes"])
        store.put(KEY, [b"bytes"])
        store.put("wg-temp/large", [bytes(MIB)] * 3)
        with pytest.raises(RuntimeError):
            store.put("wg-temp/broken", broken())
        with store.open(KEY):
            pass
        store.read(KEY)
        with pytest.raises(ObjectNotFound):
            store.read("wg-content")
        with pytest.raises(ObjectNotFound):
            store.open("wg-content")
        next(store.list("wg-"))
        store.delete("wg-temp/large")

    def broken() -> Iterator[bytes]:
        yield bytes(3 * MIB)
        raise RuntimeError

    use_all()
    before = os.listdir("/proc/self/fd")
    use_all()
    assert os.listdir("/proc/self/fd") == before
