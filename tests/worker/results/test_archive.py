"""Test which files become results."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from shattered import colliding_contents
from worker_harness import ALL, Stack, zip_of

from cloud_executor.backends.files import FileObjectStore
from cloud_executor.blobs.store import SMALL_CONTENT_BYTES, BlobStore
from cloud_executor.clock import system_clock
from cloud_executor.model.jobs.job import Job, Status
from cloud_executor.ports import ObjectNotFound

MADE = [{"name": "made", "resultPatterns": ["made/**"]}]


def made(stack: Stack, script: str) -> tuple[Job, dict[str, bytes]]:
    """The files that a script has created below `made`."""
    job = stack.run(stack.add_script(f"mkdir made; cd made; {script}", MADE))
    return job, {path.removeprefix("made/"): content for path, content in stack.results(job, "made").items()}


def test_only_links_within_the_folder_are_followed(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    script = f"""
        echo 1 > file; ln -s file link; ln -s link chain; mkdir folder; echo 2 > folder/inner; ln -s folder linked
        ln -s {tmp_path}/secret absolute; ln -s ../../../secret relative; ln -s {tmp_path} outside
        ln -s /proc/self/environ environment; ln -s ../.. up; ln -s nowhere dangling; ln -s self self
        ln -s "$PWD/file" absolute-inside
    """
    job, files = made(stack, script)
    assert (job.status, job.error) == (Status.SUCCESS, None)
    assert files == {
        "file": b"1\n",
        "link": b"1\n",
        "chain": b"1\n",
        "absolute-inside": b"1\n",
        "folder/inner": b"2\n",
        "linked/inner": b"2\n",
    }


def test_cyclic_links_end(stack: Stack) -> None:
    _, files = made(stack, "mkdir a b; echo 1 > a/f; ln -s ../b a/to-b; ln -s ../a b/to-a; ln -s . self; ln -s .. up")
    assert files == {"a/f": b"1\n", "b/to-a/f": b"1\n"}


def test_only_regular_files_are_results(stack: Stack) -> None:
    script = """
        echo 1 > file; mkfifo fifo; ln -s fifo to-fifo; mkdir empty
        python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
        mknod device c 1 5 2> /dev/null || true
    """
    _, files = made(stack, script)
    assert files == {"file": b"1\n"}


def test_names_that_are_not_utf_8_stay_different(stack: Stack) -> None:
    names = {r"caf\351": 1, r"caf\350": 2, r"caf\303\251s": 3}
    script = "; ".join(f"""printf {content} > "$(printf '{name}')\"""" for name, content in names.items())
    job, files = made(stack, script)
    assert job.status == Status.SUCCESS
    assert files == {"café": b"1", "cafè": b"2", "cafés": b"3"}


def test_no_two_files_share_a_key(stack: Stack) -> None:
    """Names in UTF-8 keep their keys, and a file has the same key in each artifact."""
    artifacts = [*MADE, {"name": "one", "resultPatterns": ["made/?"]}]
    names = {r"\303\251": "utf-8", r"\351": "latin-1", r"%%E9": "percent", r"caf\351": "alone"}
    script = "; ".join(f"""printf {content} > "$(printf '{name}')\"""" for name, content in names.items())
    job = stack.run(stack.add_script(f"mkdir made; cd made; {script}", artifacts))
    expected = {"made/é": b"utf-8", "made/%E9_": b"latin-1", "made/%E9": b"percent", "made/café": b"alone"}
    assert stack.results(job, "made") == expected
    assert stack.results(job, "one") == {"made/é": b"utf-8", "made/%E9_": b"latin-1"}


def test_unusual_names_are_results(stack: Stack) -> None:
    names = ["a b", "new\nline", "back\\slash", '"', "%41", "-rf", "__proto__.txt", "*", "con", "ü" * 100]
    script = "".join(f"printf x > './{name}'; " for name in names)
    _, files = made(stack, script)
    assert files == dict.fromkeys(names, b"x")


def test_an_unreadable_file_is_reported_and_the_others_are_kept(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    job = stack.add_script("mkdir made; echo 1 > made/good; echo 2 > made/bad", MADE)
    real_open = os.open

    def refusing_open(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "bad":
            raise PermissionError(13, "Permission denied", path)
        return real_open(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refusing_open)
    job = stack.run(job)
    assert job.status == Status.FAILED_TO_ARCHIVE_FILE
    assert job.error == "The result file 'made/bad' could not be read: permission denied."
    assert stack.results(job, "made") == {"made/good": b"1\n"}


def test_the_commands_failure_takes_precedence_over_an_archiving_failure(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker_vm.worker.results.wanted_files.MAX_FILES", 1)
    job = stack.run(stack.add_script("exit 3"))
    assert job.status == Status.FAILED_TO_EXECUTE
    error = "The command exited with code 3. The results have more than 1 files; select fewer, or pack them."
    assert job.error == error


def test_files_that_no_artifact_selects_are_not_stored(stack: Stack) -> None:
    before = len(list(stack.blobs.list_metadata(everything=True)))
    stack.run(stack.add_script("for i in 1 2 3; do echo $i > $i; done", [{"name": "a", "resultPatterns": ["2"]}]))
    # The source, the file, the artifact, and the two logs.
    assert len(list(stack.blobs.list_metadata(everything=True))) == before + 5


def test_a_folder_that_is_too_deep_is_reported(stack: Stack) -> None:
    script = "echo 1 > a; for i in $(seq 60); do d=$(printf '%0100d' $i); mkdir $d; cd $d; done; echo 1 > file"
    job, files = made(stack, script)
    assert job.status == Status.FAILED_TO_ARCHIVE_FILE
    assert "could not be read: file name too long" in (job.error or "")
    assert files["a"] == b"1\n"


class CountingStore(FileObjectStore):
    """A store that counts the bytes that are put."""

    concurrency = 4
    received = 0

    def put(self, key: str, chunks: Iterable[bytes]) -> None:
        def counted() -> Iterable[bytes]:
            for chunk in chunks:
                CountingStore.received += len(chunk)
                yield chunk

        super().put(key, counted())


def test_large_content_that_is_already_stored_is_not_sent_again(stack: Stack) -> None:
    large = os.urandom(3 * 1024**2)
    stack.blobs.create_file("large", [large])
    job = stack.add({"executor_config.json": '{"cmd": "true", "resultArtifacts": [{"name": "all"}]}', "large": large})
    blobs = BlobStore(CountingStore(stack.data / "blobs"), system_clock)
    with stack.worker(blobs=blobs) as worker:
        worker.run_next()
    assert stack.results(job)["large"] == large
    assert CountingStore.received < 10_000


@pytest.mark.parametrize("size", [320, SMALL_CONTENT_BYTES + 1])
def test_a_result_with_the_sha1_of_another_content_fails_the_job(stack: Stack, size: int) -> None:
    first, second = colliding_contents(size)
    stack.blobs.create_file("first", [first])
    config = {"cmd": "true", "resultArtifacts": [{"name": "all", "resultPatterns": ["second.bin"]}]}
    job = stack.add_zip(zip_of({"executor_config.json": json.dumps(config), "second.bin": second}))
    with stack.worker() as worker:
        worker.run_next()
    assert stack.get(job).status == Status.FAILED_TO_ARCHIVE_FILE
    assert "Another content with the same SHA-1 is already stored" in (stack.get(job).error or "")


def test_a_concurrent_store_gets_files_from_several_threads(stack: Stack) -> None:
    job = stack.add_script(
        "for i in $(seq 300); do echo $i > $i; done", [{"name": "all", "resultPatterns": ["[0-9]*"]}]
    )
    blobs = BlobStore(CountingStore(stack.data / "blobs"), system_clock)
    with stack.worker(blobs=blobs) as worker:
        worker.run_next()
    assert stack.results(job) == {str(number): b"%d\n" % number for number in range(1, 301)}


class GroupCountingStore(FileObjectStore):
    """A store that counts the groups that are put."""

    groups = 0

    def put_all(self, objects: Mapping[str, bytes]) -> list[str]:
        self.groups += 1
        return super().put_all(objects)


def test_small_files_are_stored_in_groups(stack: Stack) -> None:
    script = """
        for i in $(seq 1100); do echo $i > $i; done; head -c 16384 /dev/zero > 1101; head -c 16385 /dev/zero > 1102
        head -c 1100000 /dev/zero > 1103
    """
    job = stack.add_script(script, [{"name": "all", "resultPatterns": ["[0-9]*"]}])
    store = GroupCountingStore(stack.data / "blobs")
    with stack.worker(blobs=BlobStore(store, system_clock)) as worker:
        worker.run_next()
    expected = {str(number): b"%d\n" % number for number in range(1, 1101)}
    assert stack.results(job) == expected | {"1101": bytes(16384), "1102": bytes(16385), "1103": bytes(1100000)}
    # The logs and the artifact are in the groups too.
    assert store.groups == 2


def test_the_output_and_the_results_of_a_small_job_are_stored_together(stack: Stack) -> None:
    store = GroupCountingStore(stack.data / "blobs")
    patterns = ["job_std*.txt", "z"]
    job = stack.add_script("echo x; echo y >&2; echo z > z", [{"name": "all", "resultPatterns": patterns}])
    with stack.worker(blobs=BlobStore(store, system_clock)) as worker:
        worker.run_next()
    assert stack.results(job) == {"job_stdout.txt": b"x\n", "job_stderr.txt": b"y\n", "z": b"z\n"}
    assert store.groups == 1


class BrokenStore(FileObjectStore):
    """A store that rejects given objects."""

    def __init__(self, root: Path, prefix: str, error: Exception, times: int) -> None:
        super().__init__(root)
        self._prefix, self._error, self._times = prefix, error, times

    def put(self, key: str, chunks: Iterable[bytes]) -> None:
        self._refuse(key)
        super().put(key, chunks)

    def put_all(self, objects: Mapping[str, bytes]) -> list[str]:
        self._refuse(*objects)
        return super().put_all(objects)

    def _refuse(self, *keys: str) -> None:
        if self._times and any(key.startswith(self._prefix) for key in keys):
            self._times -= 1
            raise self._error


def run_on(stack: Stack, store: BrokenStore) -> Job:
    job = stack.add_script("echo x", ALL)
    with stack.worker(blobs=BlobStore(store, system_clock)) as worker:
        worker.run_next()
    return stack.get(job)


def test_a_result_that_cannot_be_stored_fails_the_job_with_a_reason(stack: Stack) -> None:
    job = run_on(stack, BrokenStore(stack.data / "blobs", "wg-content", ObjectNotFound(), 99))
    assert job.status == Status.FAILED_TO_ARCHIVE_FILE
    assert (job.error or "").endswith("was not stored: No object has this key.")


def test_an_artifact_that_cannot_be_stored_has_its_own_status(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_vm.worker.results.archive.wanted_files", lambda *_: iter(()))
    job = run_on(stack, BrokenStore(stack.data / "blobs", "wg-metadata", ObjectNotFound(), 99))
    assert job.status == Status.FAILED_TO_SAVE_ARTIFACT
    assert (job.error or "").startswith("The results were not stored: ")


def test_internal_errors_are_not_shown(stack: Stack) -> None:
    store = BrokenStore(stack.data / "blobs", "wg-", RuntimeError("/secret/path"), 1)
    job = stack.add_zip(zip_of({"executor_config.json": '{"cmd": "true", "resultArtifacts": [{"name": "all"}]}'}))
    with stack.worker(blobs=BlobStore(store, system_clock)) as worker:
        worker.run_next()
    job = stack.get(job)
    assert job.status == Status.FAILED_TO_EXECUTE
    assert job.error == "Internal error in the worker; details are in the worker's log."
