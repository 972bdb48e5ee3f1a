"""When a FileObjectStore syncs its files and folders, and how it writes large objects."""

from __future__ import annotations

import errno
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from re import fullmatch

import pytest

from cloud_executor.backends import file_sync, file_writing
from cloud_executor.backends.files import FileObjectStore
from cloud_executor.errors import Unavailable

KEY = "wg-content/ab/cdef"
MIB = 1 << 20


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


def test_the_first_put_finds_prepared_folders(store: FileObjectStore, steps: list[str]) -> None:
    store.prepare()
    assert {"fsync .", "fsync wg-content", "fsync wg-metadata"} <= set(steps)
    steps.clear()
    store.put_all({KEY: b"1", "wg-metadata/cd/1": b"2"})
    assert [step for step in steps if step.startswith("mkdir")] == []


def test_folders_that_cannot_be_prepared_are_left_to_the_first_put(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    FileObjectStore(tmp_path / "file").prepare()


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
    monkeypatch.setattr("cloud_executor.backends.files.MAX_OPEN_FILES", 128)
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
    monkeypatch.setattr(file_writing, "FLUSH_EVERY", 2 * MIB)
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
