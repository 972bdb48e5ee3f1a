"""The contract of every ObjectStore (cloud_executor/ports.py)."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import pytest
from contract_backends import PROCESSES, TIMEOUT_SECONDS, ObjectBackend, in_process, in_processes
from msgspec.structs import replace

from cloud_executor.backends import s3
from cloud_executor.backends.google.storage import objects
from cloud_executor.ports import ObjectNotFound, ObjectStore

KEY = "wg-content/ab/cdef"
LARGE = 5_000_000
"""Size of an object that exceeds what any backend handles in one piece, in bytes."""


def content(store: ObjectStore, key: str, start: int = 0) -> bytes:
    with store.open(key, start) as stream:
        return stream.read()


def keys(store: ObjectStore, prefix: str) -> list[str]:
    return [found.key for found in store.list(prefix)]


@pytest.mark.parametrize(
    "chunks",
    [
        [b"some bytes"],
        [],
        [b""],
        [b"", b"a", b"", b"bc", b""],
        [bytes([number % 251]) * 1000 for number in range(LARGE // 1000)],
        [random.Random(1).randbytes(LARGE)],
        [b"first", random.Random(2).randbytes(LARGE), b"last"],
    ],
    ids=["one", "none", "empty", "with empty ones", "many", "a large one", "mixed"],
)
def test_an_object_is_the_concatenation_of_its_chunks(object_store: ObjectStore, chunks: list[bytes]) -> None:
    object_store.put(KEY, iter(chunks))
    assert content(object_store, KEY) == b"".join(chunks)
    assert object_store.stat(KEY).size == sum(map(len, chunks))


@pytest.mark.parametrize("size", [0, LARGE])
def test_a_reader_never_sees_part_of_an_object(object_store: ObjectStore, size: int) -> None:
    looks = 0

    def chunks() -> Iterator[bytes]:
        nonlocal looks
        for chunk in (bytes(size), b"more"):
            yield chunk
            looks += 1
            with pytest.raises(ObjectNotFound):
                object_store.stat(KEY)
            with pytest.raises(ObjectNotFound):
                object_store.open(KEY)
            assert keys(object_store, "wg-content/") == []

    object_store.put(KEY, chunks())
    assert looks == 2
    assert object_store.stat(KEY).size == size + 4


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("error", [Interrupted, ConnectionResetError, KeyboardInterrupt])
@pytest.mark.parametrize("size", [0, 10, LARGE])
def test_a_put_whose_chunks_fail_leaves_nothing(
    object_store: ObjectStore, size: int, error: type[BaseException]
) -> None:
    def chunks() -> Iterator[bytes]:
        yield bytes(size)
        raise error

    with pytest.raises(error):
        object_store.put(KEY, chunks())
    with pytest.raises(ObjectNotFound):
        object_store.stat(KEY)
    assert keys(object_store, "") == []


def test_a_put_stores_nothing_but_its_object(object_store: ObjectStore) -> None:
    object_store.put(KEY, [b"x"])
    object_store.put(KEY, [b"x"])
    assert keys(object_store, "") == [KEY]


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_put_leaves_an_existing_object_unchanged(object_store: ObjectStore, size: int) -> None:
    object_store.put(KEY, [b"the first"])
    before = object_store.stat(KEY)
    object_store.put(KEY, [bytes(size)])
    assert content(object_store, KEY) == b"the first"
    assert object_store.stat(KEY) == before


def test_put_all_stores_each_object(object_store: ObjectStore) -> None:
    objects = {"wg-content/ab/1": b"one", "wg-content/ab/2": b"", "wg-metadata/cd/3": b"three" * 1000}
    object_store.put_all(objects)
    assert {key: content(object_store, key) for key in keys(object_store, "")} == objects


def test_put_all_names_the_existing_objects_of_a_large_group(object_store: ObjectStore) -> None:
    object_store.put("wg-content/ab/7", [b"the first"])
    assert list(object_store.put_all({f"wg-content/ab/{number}": b"x" for number in range(40)})) == ["wg-content/ab/7"]
    assert content(object_store, "wg-content/ab/7") == b"the first"


def test_put_all_leaves_existing_objects_unchanged(object_store: ObjectStore) -> None:
    object_store.put("b", [b"the first"])
    assert list(object_store.put_all({"a": b"1", "b": b"another", "c": b"3"})) == ["b"]
    assert sorted(object_store.put_all({"a": b"x", "b": b"x", "c": b"x"})) == ["a", "b", "c"]
    assert [content(object_store, key) for key in "abc"] == [b"1", b"the first", b"3"]
    assert keys(object_store, "") == ["a", "b", "c"]


def test_put_all_without_objects_succeeds(object_store: ObjectStore) -> None:
    object_store.put_all({})
    assert keys(object_store, "") == []


def test_an_object_can_be_opened_at_an_offset(object_store: ObjectStore) -> None:
    object_store.put(KEY, [b"0123456789"])
    assert content(object_store, KEY, 0) == b"0123456789"
    assert content(object_store, KEY, 7) == b"789"
    assert content(object_store, KEY, 10) == b""


def test_an_opened_object_is_a_stream(object_store: ObjectStore) -> None:
    object_store.put(KEY, [b"0123456789"])
    with object_store.open(KEY, 2) as stream:
        assert stream.read(3) == b"234"
        assert stream.read(3) == b"567"
        assert stream.read(30) == b"89"
        assert stream.read(30) == b""


@pytest.mark.parametrize("key", [KEY, "wg-content", "wg-content/ab", "wg-content/ab/cdef/gh", "wg-content/zz/cdef"])
def test_a_key_without_an_object_is_not_found(object_store: ObjectStore, key: str) -> None:
    object_store.put(KEY + "0", [b"x"])
    with pytest.raises(ObjectNotFound):
        object_store.open(key)
    with pytest.raises(ObjectNotFound):
        object_store.read(key)
    with pytest.raises(ObjectNotFound):
        object_store.stat(key)


def test_read_returns_the_whole_object_and_the_result_of_stat(object_store: ObjectStore) -> None:
    for key, chunks in (("a", [b"some", b" bytes"]), ("b", []), ("c", [bytes(LARGE)])):
        object_store.put(key, chunks)
        read, info = object_store.read(key)
        found = object_store.stat(key)
        assert read == b"".join(chunks)
        # `read` does not tell the version, and may round the times.
        assert replace(info, version="", used=None) == replace(found, version="", used=None)
        assert info.used is not None
        assert found.used is not None
        assert abs(info.used - found.used) <= timedelta(seconds=1)


def test_stat_returns_key_size_and_time_of_storage(object_store: ObjectStore) -> None:
    before = datetime.now(UTC)
    object_store.put(KEY, [b"12345"])
    after = datetime.now(UTC)
    info = object_store.stat(KEY)
    assert (info.key, info.size) == (KEY, 5)
    assert info.modified.utcoffset() == timedelta(0)
    leeway = timedelta(seconds=2)
    assert before - leeway <= info.modified <= after + leeway


def test_list_returns_the_same_as_stat(object_store: ObjectStore) -> None:
    object_store.put("wg-content/00/a", [b"1"])
    object_store.put("wg-content/01/b", [b"22"])
    infos = list(object_store.list("wg-content/"))
    assert infos == [object_store.stat("wg-content/00/a"), object_store.stat("wg-content/01/b")]


def test_list_accepts_any_prefix(object_store: ObjectStore) -> None:
    stored = ["wg-content/ab/1", "wg-content/ab/12", "wg-content/abc/1", "wg-content/b/1", "wg-temp/1"]
    for key in stored:
        object_store.put(key, [b""])
    assert keys(object_store, "") == stored
    assert keys(object_store, "wg-") == stored
    assert keys(object_store, "wg-content/") == stored[:4]
    assert keys(object_store, "wg-content/a") == stored[:3]
    assert keys(object_store, "wg-content/ab") == stored[:3]
    assert keys(object_store, "wg-content/ab/") == stored[:2]
    assert keys(object_store, "wg-content/ab/1") == stored[:2]
    assert keys(object_store, "wg-content/ab/12") == stored[1:2]
    assert keys(object_store, "wg-content/ab/12/") == []
    assert keys(object_store, "wg-content/c") == []
    assert keys(object_store, "other/") == []


def test_list_is_ordered_by_key(object_store: ObjectStore) -> None:
    stored = ["a!", "a-b/c", "a/b!c", "a/b/c", "a0/b", "ab", "é", "\U0001f600"]
    for key in random.Random(3).sample(stored, len(stored)):
        object_store.put(key, [b""])
    assert keys(object_store, "") == sorted(stored)


def test_list_returns_all_of_many_objects(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in (s3, objects):
        monkeypatch.setattr(backend, "LISTED_AT_ONCE", 100)
    digests = [hashlib.sha1(bytes([number])).hexdigest() for number in range(250)]
    stored = sorted(f"wg-content/{digest[:2]}/{digest[2:]}" for digest in digests)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: object_store.put(key, [b"x"]), stored))
    assert keys(object_store, "wg-content/") == stored


def test_list_continues_while_objects_are_added_and_deleted(object_store: ObjectStore) -> None:
    for number in range(10):
        object_store.put(f"wg-temp/{number}", [b""])
    listing = object_store.list("wg-temp/")
    seen = [next(listing).key]
    object_store.delete("wg-temp/5")
    object_store.put("wg-temp/99", [b""])
    seen += [found.key for found in listing]
    assert set(seen) - {"wg-temp/5", "wg-temp/99"} == {f"wg-temp/{number}" for number in range(10) if number != 5}


def test_move_gives_the_object_another_key(object_store: ObjectStore) -> None:
    object_store.put("wg-temp/upload", [b"bytes"])
    assert object_store.move("wg-temp/upload", KEY)
    assert content(object_store, KEY) == b"bytes"
    assert keys(object_store, "") == [KEY]


def test_move_onto_an_existing_key_changes_nothing(object_store: ObjectStore) -> None:
    object_store.put(KEY, [b"the first"])
    object_store.put("wg-temp/upload", [b"another"])
    assert not object_store.move("wg-temp/upload", KEY)
    assert content(object_store, KEY) == b"the first"
    assert content(object_store, "wg-temp/upload") == b"another"


def test_a_repeated_move_succeeds(object_store: ObjectStore) -> None:
    object_store.put("wg-temp/upload", [b"bytes"])
    assert object_store.move("wg-temp/upload", KEY)
    assert object_store.move("wg-temp/upload", KEY)
    assert content(object_store, KEY) == b"bytes"


def test_move_without_source_and_destination_is_not_found(object_store: ObjectStore) -> None:
    with pytest.raises(ObjectNotFound):
        object_store.move("wg-temp/upload", KEY)
    assert keys(object_store, "") == []


def test_delete_removes_one_object(object_store: ObjectStore) -> None:
    object_store.put(KEY, [b"x"])
    object_store.put(KEY + "0", [b"y"])
    object_store.delete(KEY)
    with pytest.raises(ObjectNotFound):
        object_store.stat(KEY)
    assert keys(object_store, "") == [KEY + "0"]


def test_delete_of_a_missing_object_succeeds(object_store: ObjectStore) -> None:
    object_store.delete(KEY)
    object_store.put(KEY, [b"x"])
    object_store.delete(KEY)
    object_store.delete(KEY)
    object_store.put(KEY, [b"again"])
    assert content(object_store, KEY) == b"again"


def test_concurrency_is_a_number_of_calls(object_store: ObjectStore) -> None:
    assert object_store.concurrency >= 1


# Races ----------------------------------------------------------------------------------------------------------------


def test_exactly_one_of_several_threads_that_put_one_key_wins(object_store: ObjectStore) -> None:
    rounds = 20
    start = threading.Barrier(8)

    def race(number: int) -> list[bytes]:
        seen = []
        for turn in range(rounds):
            start.wait(TIMEOUT_SECONDS)
            object_store.put(f"race/{turn}", [b"%d" % number, bytes(100 * number)])
            seen.append(content(object_store, f"race/{turn}"))
        return seen

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(race, range(8)))
    payloads = {b"%d" % number + bytes(100 * number) for number in range(8)}
    for turn in range(rounds):
        winners = {racer[turn] for racer in seen} | {content(object_store, f"race/{turn}")}
        assert len(winners) == 1
        assert winners <= payloads


def test_one_winner_per_key_when_threads_put_all_of_the_same_keys(object_store: ObjectStore) -> None:
    start = threading.Barrier(8)

    def race(number: int) -> list[bytes]:
        start.wait(TIMEOUT_SECONDS)
        object_store.put_all(dict.fromkeys("abc", b"%d" % number))
        return [content(object_store, key) for key in "abc"]

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(race, range(8)))
    assert seen == [seen[0]] * 8


def race_in_a_process(number: int, backend: ObjectBackend, start: Barrier, rounds: int) -> None:
    with backend.open() as store:
        for turn in range(rounds):
            start.wait(TIMEOUT_SECONDS)
            store.put(f"race/{turn}", [b"%d" % number] * 1000)
            store.put(f"seen/{turn}/{number}", [content(store, f"race/{turn}")])


def test_exactly_one_of_several_processes_that_put_one_key_wins(
    object_backend: ObjectBackend, object_store: ObjectStore
) -> None:
    rounds, count = 20, 3
    in_processes(count, race_in_a_process, object_backend, PROCESSES.Barrier(count), rounds)
    for turn in range(rounds):
        winner = content(object_store, f"race/{turn}")
        assert winner in [b"%d" % number * 1000 for number in range(count)]
        seen = [content(object_store, found.key) for found in object_store.list(f"seen/{turn}/")]
        assert seen == [winner] * count


def test_threads_that_move_to_one_key_all_succeed(object_backend: ObjectBackend, object_store: ObjectStore) -> None:
    start = threading.Barrier(8)
    for number in range(4):
        # A content's key is its hash, so in practice all sources have the same bytes.
        object_store.put(f"wg-temp/{number}", [b"%d" % number if object_backend.decides_races else b"same"])

    def move(number: int) -> bytes:
        start.wait(TIMEOUT_SECONDS)
        if not object_store.move(f"wg-temp/{number % 4}", KEY):
            object_store.delete(f"wg-temp/{number % 4}")
        return content(object_store, KEY)

    with ThreadPoolExecutor(8) as pool:
        seen = set(pool.map(move, range(8)))
    assert seen == {content(object_store, KEY)}
    assert keys(object_store, "") == [KEY]


# Crashes --------------------------------------------------------------------------------------------------------------


def put_and_stall(backend: ObjectBackend, size: int, stalled: Event) -> None:
    def chunks() -> Iterator[bytes]:
        yield bytes(size)
        yield b"more"
        stalled.set()
        threading.Event().wait()

    with backend.open() as store:
        store.put(KEY, chunks())


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_process_killed_inside_a_put_leaves_no_object(
    object_backend: ObjectBackend, object_store: ObjectStore, size: int
) -> None:
    stalled = PROCESSES.Event()
    with in_process(put_and_stall, object_backend, size, stalled):
        assert stalled.wait(TIMEOUT_SECONDS)
    with pytest.raises(ObjectNotFound):
        object_store.stat(KEY)
    assert keys(object_store, "wg-content/") == []
    object_store.put(KEY, [b"whole"])
    assert content(object_store, KEY) == b"whole"


def put_and_acknowledge(backend: ObjectBackend, log: Path) -> None:
    with backend.open() as store, log.open("a") as acknowledged:
        for number in range(100_000):
            chunk = str(number).encode()
            digest = hashlib.sha1(chunk * 50).hexdigest()
            store.put(f"wg-content/{digest[:2]}/{digest[2:]}", [chunk] * 50)
            acknowledged.write(digest + "\n")
            acknowledged.flush()


def test_a_process_killed_at_any_moment_leaves_only_whole_objects_and_all_that_it_acknowledged(
    object_backend: ObjectBackend, object_store: ObjectStore, tmp_path: Path
) -> None:
    log = tmp_path / "acknowledged"
    log.touch()
    with in_process(put_and_acknowledge, object_backend, log):
        enough = threading.Event()
        for _ in range(TIMEOUT_SECONDS * 100):
            if log.read_text().count("\n") >= 50:
                break
            enough.wait(0.01)
    acknowledged = log.read_text().split()
    assert len(acknowledged) >= 50
    stored = keys(object_store, "wg-content/")
    assert {f"wg-content/{digest[:2]}/{digest[2:]}" for digest in acknowledged} <= set(stored)
    for key in stored:
        digest = key.removeprefix("wg-content/").replace("/", "")
        assert hashlib.sha1(content(object_store, key)).hexdigest() == digest


def test_another_process_can_read_an_object(object_backend: ObjectBackend, object_store: ObjectStore) -> None:
    object_store.put(KEY, [b"bytes"])
    in_processes(1, copy_in_a_process, object_backend)
    assert content(object_store, "copy") == b"bytes"


def copy_in_a_process(_number: int, backend: ObjectBackend) -> None:
    with backend.open() as store, store.open(KEY) as stream:
        store.put("copy", [stream.read()])
