"""What `executor gc` deletes and what it keeps."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from stored_data import DAY, KEEP, Data, opened

from cloud_executor.blobs.downloads import MANIFEST_DOCUMENT_BYTES, Downloads
from cloud_executor.blobs.keys import CONTENT_PREFIX, METADATA_PREFIX, content_key, metadata_key
from cloud_executor.blobs.store import SMALL_CONTENT_BYTES
from cloud_executor.errors import Unavailable
from cloud_executor.model.blobs.metadata import ArtifactFile, BlobMetadata, ContentType
from cloud_executor.model.jobs.job import OutputSegment, Status
from cloud_executor.ports import JobNotFound, ObjectInfo
from cloud_executor.retention.collector import GRACE
from cloud_executor.retention.forgotten import PREFIX as FORGET_PREFIX
from cloud_executor.retention.unneeded import PREFIX


def test_old_jobs_are_deleted_and_grace_later_their_blobs(data: Data) -> None:
    source, result, log = data.file("source"), data.artifact("all", {"a": data.file("result")}), data.file("log")
    data.job(source, result_hashes={"all": result}, logs={"stdout": log})
    data.store.put_output(OutputSegment(source, 0, "x"), lambda job: job)
    data.passed = KEEP + DAY
    first = data.collect()
    assert (first.jobs_deleted, first.objects_deleted, first.documents_waiting) == (1, 0, 4)
    with pytest.raises(JobNotFound):
        data.store.get(source)
    assert list(data.store.output(source)) == []
    assert len(data.hashes()) == 7
    data.passed += GRACE - DAY
    assert data.collect().objects_deleted == 0
    data.passed += 2 * DAY
    last = data.collect()
    assert (last.objects_deleted, last.documents_waiting, last.bytes_stored) == (7, 0, 0)
    assert last.bytes_deleted == first.bytes_stored > 0
    assert data.hashes() == set()
    assert len(set(data.forgotten)) == 7
    usage = data.store.usage()
    assert usage is not None
    assert usage.bytes_stored == 0


def test_what_something_needs_stays(data: Data) -> None:
    kept = {
        "source of a waiting job": data.file("1"),
        "source of a running job": data.file("2"),
        "source of a recent job": data.file("3"),
        "nested results": data.artifact("a", {"b": data.artifact("b", {"c": data.link(data.file("4"))})}),
        "log": data.file("5"),
        "result of a worker": data.file("6"),
        "public": data.public(data.link(data.file("7"))),
        "label job": data.file("8"),
        "labeled": data.file("9"),
        "of another user": data.file("10"),
        "large": data.blobs.create_file("x", [bytes(SMALL_CONTENT_BYTES)] * 2).hash,
    }
    data.label_jobs = {"label": kept["label job"], "broken": "no hash"}
    data.job(kept["source of a waiting job"], Status.CREATED)
    data.job(kept["source of a running job"], "RUNNING")
    data.job(kept["labeled"], labels=("keep",))
    data.job("\0user\0ada\0" + kept["of another user"], user_id="ada")
    gone = data.job(data.file("old"), result_hashes={"a": data.file("old result")})
    data.passed = KEEP + DAY
    data.job(
        kept["source of a recent job"],
        result_hashes={"a": kept["nested results"], "l": kept["large"]},
        logs={"stderr": kept["log"]},
        result_super_set=kept["result of a worker"],
        finish_time="not a time",
    )
    options: dict[str, Any] = {"user_id": "guest", "keep_labels": frozenset({"keep", "other"})}
    assert data.collect(**options).jobs_deleted == 1
    data.passed += GRACE + DAY
    recent = data.file("recent")
    assert data.collect(**options).objects_deleted == 4
    assert {name for name, blob in kept.items() if not data.readable(blob)} == set()
    assert not data.readable(gone.hash)
    assert data.readable(recent)


def test_a_late_end_keeps_a_job(data: Data) -> None:
    data.job("a", age=KEEP + DAY, finish_time=data.now().isoformat())
    data.job("b", age=KEEP + DAY, finish_time="2026-01-31T12:00:00")
    assert data.collect().jobs_deleted == 1
    assert data.store.get("a").finished


def test_an_upload_keeps_what_it_finds(data: Data) -> None:
    blob = data.file("content")
    data.passed = KEEP + DAY
    data.collect()
    data.passed += GRACE + DAY

    class Used:
        """The file is uploaded again after the run has found that nothing needs it."""

        def __getattr__(self, name: str) -> Any:
            return getattr(objects, name)

        def delete_unused(self, info: Any) -> bool:
            data.file("content")
            return bool(objects.delete_unused(info))

    objects = data.objects
    data.objects = Used()
    assert data.collect().objects_deleted == 0
    assert data.readable(blob)


def test_a_link_to_a_blob_of_a_deleted_job_stays(data: Data) -> None:
    source = data.file("source")
    data.job(source)
    data.passed = KEEP + DAY
    data.collect()
    data.passed += GRACE - DAY
    link = data.link(source)
    data.job(link, Status.CREATED)
    data.collect()
    data.passed += 2 * DAY
    data.collect()
    assert data.readable(link)


def test_a_blob_that_was_needed_in_between_waits_again(data: Data) -> None:
    source = data.file("source")
    data.passed = KEEP + DAY
    data.collect()
    data.job(source)
    data.passed += DAY
    data.collect()
    data.store.delete(source, lambda job: None)
    data.passed += GRACE
    assert data.collect().objects_deleted == 0
    data.passed += GRACE
    assert data.collect().objects_deleted == 2


def test_a_dry_run_changes_nothing(data: Data) -> None:
    source = data.file("source")
    data.job(source)
    data.passed = KEEP + DAY
    before = {info.key for info in data.objects.list("")}
    report = data.collect(dry_run=True)
    assert (report.jobs_deleted, report.objects_deleted, report.documents_waiting) == (1, 0, 1)
    assert {info.key for info in data.objects.list("")} == before
    assert data.store.get(source).finished
    assert data.store.usage() is None
    data.collect()
    data.passed += GRACE + DAY
    assert data.collect(dry_run=True).objects_deleted == 2
    assert data.readable(source)


def test_files_and_documents_of_others_stay(data: Data) -> None:
    foreign = [
        f"{METADATA_PREFIX}readme.txt",
        f"{CONTENT_PREFIX}ab/short",
        metadata_key("a" * 40),
        f"{CONTENT_PREFIX}{'b' * 40}",
    ]
    for key in foreign:
        data.objects.put(key, [b"no metadata"])
    data.passed = KEEP + DAY
    data.collect_all()
    assert {info.key for info in data.objects.list("")} >= set(foreign)


class DyingAfter:
    """A store whose process dies after its first deletion of an object whose key starts so."""

    def __init__(self, wrapped: Any, prefix: str) -> None:
        self._wrapped, self._prefix = wrapped, prefix

    def delete_unused(self, info: ObjectInfo) -> bool:
        is_gone = bool(self._wrapped.delete_unused(info))
        if info.key.startswith(self._prefix):
            raise Unavailable
        return is_gone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


@pytest.mark.parametrize("dies", [False, True])
def test_the_manifest_of_an_artifact_goes_with_it(data: Data, dies: bool) -> None:
    files = {f"{number:03}" + "x" * 80: data.file(str(number % 3)) for number in range(200)}
    artifact = data.artifact("a", files)
    Downloads(data.blobs).resolve(artifact)
    assert data.objects.stat(metadata_key(artifact)).size > MANIFEST_DOCUMENT_BYTES
    assert len(list(data.objects.list("wg-zip/"))) == 1
    data.passed = KEEP + DAY
    data.collect()
    data.passed += GRACE + DAY
    if dies:
        data.objects = DyingAfter(data.objects, metadata_key(artifact))
        with pytest.raises(Unavailable):
            data.collect()
        assert artifact not in data.hashes()
    else:
        data.collect()
        assert data.hashes() == set()
    assert list(data.objects.list("wg-zip/")) == []


def test_only_the_last_list_is_kept(data: Data) -> None:
    data.file("x")
    for _ in range(3):
        data.passed += DAY
        data.collect()
        assert len(list(data.objects.list(PREFIX))) == 1


class Dying:
    """A store whose process dies at the nth call that changes or lists something."""

    def __init__(self, wrapped: Any, calls: int) -> None:
        self._wrapped = wrapped
        self._left = count(calls, -1)

    def __getattr__(self, name: str) -> Any:
        if name in ("put", "delete", "delete_unused", "list", "open", "record_usage") and next(self._left) <= 0:
            raise Unavailable
        return getattr(self._wrapped, name)


def test_a_run_that_dies_anywhere_is_completed_by_the_next(tmp_path: Path) -> None:
    for calls in count(1):
        with opened(tmp_path / str(calls)) as data:
            old, kept = data.file("old"), data.artifact("kept", {"a": data.link(data.file("kept"))})
            data.job(old, result_hashes={"a": data.artifact("old", {"a": old})})
            data.job(kept, Status.CREATED)
            data.passed = KEEP + DAY
            data.collect()
            data.passed += GRACE + DAY
            objects, store = data.objects, data.store
            data.objects, data.store = Dying(objects, calls), Dying(store, calls)
            try:
                data.collect()
            except Unavailable:
                is_complete = False
            else:
                is_complete = True
            data.objects, data.store = objects, store
            assert data.readable(kept)
            data.collect_all()
            assert data.readable(kept)
            assert old not in data.hashes()
            assert len(data.hashes()) == 4
            if is_complete:
                assert calls > 8
                return


def test_a_content_of_many_documents_stays_as_long_as_one_of_them(data: Data) -> None:
    first, second = data.file("same", "a"), data.file("same", "b")
    data.job(second, Status.CREATED)
    data.passed = KEEP + DAY
    data.collect_all()
    assert not data.readable(first)
    assert data.readable(second)
    assert [info.key for info in data.objects.list(CONTENT_PREFIX)] == [
        content_key(data.blobs.metadata(second).metadata.content_hash)
    ]


class UsedBefore:
    """A store in which a client reads a blob just before the nth deletion or list."""

    def __init__(self, data: Data, method: str, calls: int, blob: str) -> None:
        self._wrapped, self._data, self._method, self._blob = data.objects, data, method, blob
        self._left = count(calls, -1)
        self.was_read: bool | None = None

    def __getattr__(self, name: str) -> Any:
        if name == self._method and next(self._left) == 0:
            self.was_read = self._data.readable(self._blob)
        return getattr(self._wrapped, name)


@pytest.mark.parametrize("method", ["list", "delete_unused"])
def test_a_blob_that_is_read_while_a_run_takes_place_stays_whole_or_is_gone(tmp_path: Path, method: str) -> None:
    outcomes = set()
    for calls in range(12):
        with opened(tmp_path / str(calls)) as data:
            blob = data.artifact("a", {"x": data.link(data.file("1")), "y": data.file("2")})
            data.passed = KEEP + DAY
            data.collect()
            data.passed += GRACE + DAY
            store = UsedBefore(data, method, calls, blob)
            data.objects, wrapped = store, data.objects
            data.collect()
            data.objects = wrapped
            if store.was_read is not None:
                assert data.readable(blob) is store.was_read
                outcomes.add(store.was_read)
    assert outcomes == {True, False}


def test_a_blob_that_is_read_stays(data: Data) -> None:
    blob = data.artifact("a", {"x": data.file("1")})
    data.passed = KEEP + DAY
    data.collect()
    before = data.objects.stat(metadata_key(blob)).version
    assert data.readable(blob)
    assert data.objects.stat(metadata_key(blob)).version != before


class CreatesBefore:
    """A store in which a client does something, once, when the nth list with a prefix begins."""

    def __init__(self, data: Data, prefix: str, calls: int, action: Callable[[], object]) -> None:
        self._wrapped, self._prefix, self._action = data.objects, prefix, action
        self._left = count(calls - 1, -1)

    def list(self, prefix: str) -> Any:
        if prefix == self._prefix and next(self._left) == 0:
            self._action()
        return self._wrapped.list(prefix)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


LATER = [(METADATA_PREFIX, 2), (METADATA_PREFIX, 3), (CONTENT_PREFIX, 1)]
"""The lists of the run after the first pass: to find documents, before their deletion, and to find contents."""


def collect_with(data: Data, prefix: str, calls: int, action: Callable[[], object]) -> None:
    """Delete everything that was due after two runs, while a client does something in the second one."""
    data.passed += KEEP + DAY
    data.collect()
    data.passed += GRACE + DAY
    data.objects, wrapped = CreatesBefore(data, prefix, calls, action), data.objects
    data.collect()
    data.objects = wrapped


@pytest.mark.parametrize(("prefix", "calls"), LATER)
def test_a_content_that_a_new_document_names_stays(data: Data, prefix: str, calls: int) -> None:
    content = data.blobs.metadata(data.file("content")).metadata.content_hash
    created = []

    def create() -> None:
        files = {"a": ArtifactFile(content, 7, ContentType.OBJECT)}
        created.append(data.blobs.create_metadata(BlobMetadata.for_artifact("new", files)).hash)

    collect_with(data, prefix, calls, create)
    assert data.readable(created[0])


@pytest.mark.parametrize(("prefix", "calls"), LATER[:2])
def test_a_document_that_a_new_link_names_stays(data: Data, prefix: str, calls: int) -> None:
    old = data.artifact("old", {"a": data.file("content")})
    created: list[str] = []
    collect_with(data, prefix, calls, lambda: created.append(data.link(old)))
    assert data.readable(created[0])
    assert data.collect().documents_waiting == 0


@pytest.mark.parametrize(("prefix", "calls"), LATER[:2])
def test_the_source_of_a_new_job_stays(data: Data, prefix: str, calls: int) -> None:
    source = data.artifact("old", {"a": data.file("content")})
    collect_with(data, prefix, calls, lambda: data.job(source, Status.CREATED))
    assert data.readable(source)


@pytest.mark.parametrize("kind", ["document", "content"])
def test_the_grants_of_a_deleted_object_go_in_the_next_run(data: Data, kind: str) -> None:
    document, stored_again = data.file("content"), data.file("other", "b")
    content = data.blobs.metadata(document).metadata.content_hash
    deleted = document if kind == "document" else content
    data.passed = KEEP + DAY
    data.collect()
    data.passed += GRACE + DAY
    data.unforgettable = frozenset({deleted})
    with pytest.raises(Unavailable):
        data.collect()
    assert deleted not in data.hashes()
    data.unforgettable = frozenset()
    assert data.file("other", "b") == stored_again
    data.forgotten.clear()
    data.collect(dry_run=True)
    assert data.forgotten == []
    data.collect()
    assert deleted in data.forgotten
    assert stored_again not in data.forgotten
    assert list(data.objects.list(FORGET_PREFIX)) == []
