"""Files, durability, and errors of a FileObjectStore. tests/contract/ covers what all object stores have in common."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from re import fullmatch

import pytest

from cloud_executor.backends import file_sync, files
from cloud_executor.backends.files import FileObjectStore
from cloud_executor.errors import StorageFull, Unavailable
from cloud_executor.ports import ObjectNotFound

KEY = "wg-content/ab/cdef"
MIB = 1 << 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "blobs"


@pytest.fixture(params=["unnamed files", "files in wg-temp"])
def unnamed_files(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the file system supports unnamed files. If not, opening one fails as it does on such a file system."""
    unnamed = request.param == "unnamed files"
    actual = os.open

    def named_only(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return actual(path, flags, mode, dir_fd=dir_fd)

    if not unnamed:
        monkeypatch.setattr(os, "open", named_only)
    return unnamed


@pytest.fixture
def store(root: Path, unnamed_files: bool) -> FileObjectStore:
    return FileObjectStore(root)


def all_files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


# Layout ---------------------------------------------------------------------------------------------------------------


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


# Durability -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, root: Path) -> list[str]:
    """The system calls that concern durability, in order. Temporary files are called `temporary`."""
    steps: list[str] = []

    def name(path: str) -> str:
        if path == str(root.parent):
            return "(above)"
        key = os.path.relpath(path, root)
        return "temporary" if "wg-temp/#" in key or fullmatch("wg-temp/.{36}", key) else key

    def record(step: str, describe: Callable[..., str]) -> None:
        actual = getattr(os, step)

        def recorder(*arguments: object, **options: object) -> object:
            described = describe(*arguments)
            result = actual(*arguments, **options)
            if described != "temporary" or step == "fsync":  # else a name that only some file systems need
                steps.append(f"{step} {described}")
            return result

        monkeypatch.setattr(os, step, recorder)

    record("fsync", lambda file: name(os.readlink(f"/proc/self/fd/{file}")))
    record("link", lambda source, path: f"{name(os.path.realpath(source))} {name(path)}")
    record("mkdir", lambda path, *_: name(path))
    record("unlink", name)
    return steps


def test_put_syncs_the_bytes_before_the_key_and_the_key_before_it_returns(
    store: FileObjectStore, steps: list[str]
) -> None:
    store.put(KEY, [b"first"])
    steps.clear()
    store.put(KEY + "0", [b"second"])
    assert steps == [
        "fsync temporary",
        f"link temporary {KEY}0",
        "fsync wg-content/ab",
    ]


def test_the_first_put_syncs_the_folders_of_all_shards(store: FileObjectStore, steps: list[str]) -> None:
    store.put("wg-temp/x", [b""])
    steps.clear()
    store.put(KEY, [b"bytes"])
    made = [step for step in steps if step.startswith("mkdir wg-content/")]
    assert len(made) == 256
    assert [step for step in steps if step not in made] == [
        "fsync temporary",
        "mkdir wg-content",
        "fsync .",
        "fsync wg-content",
        f"link temporary {KEY}",
        "fsync wg-content/ab",
    ]
    assert steps.index("fsync wg-content") > steps.index(made[-1])


def test_the_folders_of_all_shards_are_created_together(store: FileObjectStore, steps: list[str]) -> None:
    store.put(KEY, [b""])
    shards = sorted(f"mkdir wg-content/{number:02x}" for number in range(256))
    made = [step for step in steps if step.startswith("mkdir wg-content/")]
    assert sorted(made) == shards
    assert "fsync wg-content" in steps[steps.index(made[-1]) :]
    steps.clear()
    store.put("wg-content/00/x", [b""])
    assert steps == ["fsync temporary", "link temporary wg-content/00/x", "fsync wg-content/00"]


def test_the_first_put_syncs_every_folder(store: FileObjectStore, steps: list[str]) -> None:
    store.put(KEY, [b"bytes"])
    for folder, above in (("wg-content/ab", "wg-content"), ("wg-content", "."), (".", "(above)"), ("wg-temp", ".")):
        assert f"fsync {above}" in steps[steps.index(f"mkdir {folder}") :]


def test_put_all_syncs_each_file_and_then_each_folder_once(store: FileObjectStore, steps: list[str]) -> None:
    objects = {"wg-content/ab/1": b"1", "wg-content/ab/2": b"2", "wg-metadata/cd/3": b"3"}
    store.put_all(dict.fromkeys(["wg-content/ab/0", "wg-metadata/cd/0"], b""))
    steps.clear()
    store.put_all(objects)
    assert steps[:3] == ["fsync temporary"] * 3
    assert steps[3:6] == [f"link temporary {key}" for key in objects]
    assert sorted(steps[6:8]) == ["fsync wg-content/ab", "fsync wg-metadata/cd"]
    assert steps[8:] == []


def test_put_all_syncs_many_objects_together(
    store: FileObjectStore, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All bytes are synced before the first name exists, and then all names."""
    monkeypatch.setattr("cloud_executor.backends.file_sync._syncfs", lambda: lambda _: steps.append("sync all"))
    store.put_all({f"{prefix}/{shard:02x}/0": b"" for prefix in ("wg-content", "wg-metadata") for shard in range(256)})
    steps.clear()
    objects = {f"wg-content/{number % 256:02x}/{number}": b"%d" % number for number in range(600)}
    store.put_all(objects)
    links = [f"link temporary {key}" for key in objects if not key.endswith("/0")]
    assert [step for step in steps if step == "sync all"] == ["sync all"] * 6
    assert [step for step in steps if step != "sync all"] == links
    assert (steps[0], steps[1], steps[128], steps[-1]) == ("sync all", links[0], "sync all", "sync all")
    assert store.read("wg-content/57/599")[0] == b"599"
    # The names of existing objects are synced, because their writers may not have done so yet.
    steps.clear()
    store.put_all(dict.fromkeys(list(objects)[:20], b""))
    assert steps == ["sync all"]


def test_put_all_syncs_each_of_many_objects_where_there_is_no_syncfs(
    store: FileObjectStore, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud_executor.backends.file_sync._syncfs", lambda: None)
    store.put_all({f"wg-content/ab/{number}": b"" for number in range(2)})
    steps.clear()
    objects = {f"wg-content/{number % 2:02x}/x{number}": b"" for number in range(20)}
    store.put_all(objects)
    assert steps[:20] == ["fsync temporary"] * 20
    assert steps[20:40] == [f"link temporary {key}" for key in objects]
    assert sorted(steps[40:]) == ["fsync wg-content/00", "fsync wg-content/01"]


def test_a_failed_sync_of_the_file_system_leaves_no_object(
    store: FileObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr("cloud_executor.backends.file_sync._syncfs", lambda: fail)
    with pytest.raises(Unavailable):
        store.put_all({f"wg-content/ab/{number}": b"x" for number in range(100)})
    assert list(store.list("wg-content/")) == []


def test_syncfs_is_called() -> None:
    sync_file_system = file_sync._syncfs()
    assert sync_file_system is not None
    with pytest.raises(OSError, match="Bad file descriptor"):
        sync_file_system(-1)


@pytest.mark.parametrize("again", [FileObjectStore.put, lambda store, key, _: store.put_all({key: b""})])
def test_put_syncs_an_existing_object_of_another_writer(
    store: FileObjectStore, root: Path, steps: list[str], again: Callable[[FileObjectStore, str, list[bytes]], None]
) -> None:
    FileObjectStore(root).put(KEY, [b"bytes"])
    steps.clear()
    again(store, KEY, [b""])
    assert steps == ["fsync (above)", "fsync .", "fsync wg-content", "fsync wg-content/ab"]
    steps.clear()
    again(store, KEY, [b""])
    assert steps == ["fsync wg-content/ab"]


def test_a_move_is_synced_before_the_source_is_deleted(store: FileObjectStore, steps: list[str]) -> None:
    store.put(KEY + "0", [b""])
    store.put("wg-temp/upload", [b"bytes"])
    steps.clear()
    store.move("wg-temp/upload", KEY)
    assert steps == [f"link wg-temp/upload {KEY}", "fsync wg-content/ab", "unlink wg-temp/upload"]
    steps.clear()
    store.move("wg-temp/upload", KEY)
    assert steps[-1] == "fsync wg-content/ab"


def test_a_large_object_is_flushed_while_it_is_received(
    store: FileObjectStore, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "FLUSH_EVERY", 2 * MIB)
    store.put("wg-temp/first", [b""])
    steps.clear()

    def chunks() -> Iterator[bytes]:
        for _ in range(8):
            yield bytes(MIB)
        # Each flush waits for the previous one, so all but the last are done.
        assert steps.count("fsync temporary") >= 3

    store.put("wg-temp/large", chunks())
    assert steps[-2:] == ["link temporary wg-temp/large", "fsync wg-temp"]
    assert steps[:-2] == ["fsync temporary"] * 5


def test_a_large_object_takes_little_memory(store: FileObjectStore) -> None:
    tracemalloc.start()
    try:
        store.put(KEY, (bytes(MIB) for _ in range(100)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * MIB
    assert store.stat(KEY).size == 100 * MIB


# Errors ---------------------------------------------------------------------------------------------------------------


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
    monkeypatch.setattr(files, "FLUSH_EVERY", 2 * MIB)
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
