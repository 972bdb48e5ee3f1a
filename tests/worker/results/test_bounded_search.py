"""Test that finding a job's results ends in time, whatever the job and its owner do."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from worker_harness import Stack

from cloud_executor.model.documents.executor_config import ResultArtifact
from cloud_executor.model.jobs.job import Job, Status
from cloud_executor.model.patterns.minimatch import Matching, ResultPatterns, TooMuchWork
from worker_vm.worker.attempt import Attempt, Interrupted, Interruption
from worker_vm.worker.job_failed import JobFailed
from worker_vm.worker.results.result_files import result_files
from worker_vm.worker.results.unmatched import UnmatchedPatterns
from worker_vm.worker.results.wanted_files import wanted_files

SEARCH = "worker_vm.worker.results.wanted_files"
FILES = "worker_vm.worker.results.result_files"


@pytest.fixture
def attempt() -> Iterator[Attempt]:
    attempt = Attempt(Job(hash="0" * 40, create_time="", secret=""), 1e6, time.monotonic())
    yield attempt
    attempt.close()


def found(folder: Path, attempt: Attempt, pattern: str = "*") -> tuple[list[str], list[JobFailed]]:
    artifacts = (ResultArtifact("a", ResultPatterns([pattern])),)
    failures: list[JobFailed] = []
    wanted = wanted_files(artifacts, folder, attempt, failures.append, UnmatchedPatterns(artifacts))
    return [file.file.path for file in wanted], failures


def test_patterns_that_take_too_long_fail_the_job(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{SEARCH}.MAX_STEPS", 2000)
    artifacts = [{"name": "many", "resultPatterns": [f"{i}" + "*(a|b|c)*" * 50 for i in range(50)]}]
    job = stack.run(stack.add_script("touch $(printf 'ab%.0s' $(seq 100))", artifacts))
    assert (job.status, job.error) == (
        Status.FAILED_TO_ARCHIVE_FILE,
        "The patterns take too long to match all files; use fewer or simpler ones, or pack the files.",
    )


def test_equal_segments_are_matched_once() -> None:
    patterns = ResultPatterns(["+(a|b)*+(a|b)/**/x"])
    limited = Matching(20_000)  # the first path takes more than a tenth of these steps
    for _ in range(200):
        patterns.matches("ab" * 100 + "/a/b/c", limited)


def test_a_single_match_is_bounded() -> None:
    patterns = ResultPatterns(["*(a|b|c)*" * 2000])
    with pytest.raises(TooMuchWork):
        patterns.matches("ab" * 120, Matching(10_000))


def test_cached_results_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud_executor.model.patterns.minimatch.MAX_CACHED_RESULTS", 10)
    matching = Matching()
    patterns = ResultPatterns(["a*b"])
    assert [patterns.matches(f"a{number}b", matching) for number in range(100)] == [True] * 100
    assert len(matching._subjects) <= 10


def test_a_search_has_a_time_limit(tmp_path: Path, attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{SEARCH}.MAX_SECONDS", -1.0)
    (tmp_path / "file").touch()
    paths, failures = found(tmp_path, attempt)
    assert paths == []
    assert [failure.status for failure in failures] == [Status.FAILED_TO_ARCHIVE_FILE]


def test_storing_the_files_does_not_count(tmp_path: Path, attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=0.0)
    monkeypatch.setattr(f"{SEARCH}.time", clock)
    for number in range(3):
        (tmp_path / str(number)).touch()
    artifacts = (ResultArtifact("a", ResultPatterns([])),)
    failures: list[JobFailed] = []
    for _ in wanted_files(artifacts, tmp_path, attempt, failures.append, UnmatchedPatterns(artifacts)):
        clock.now += 800
    assert failures == []


def test_a_cancel_ends_the_search_after_a_minute(
    tmp_path: Path, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    attempt.interrupt(Interruption.CANCELED)
    assert found(tmp_path, attempt) == (["file"], [])
    monkeypatch.setattr("worker_vm.worker.attempt.CANCEL_GRACE_SECONDS", -1.0)
    paths, failures = found(tmp_path, attempt)
    assert (paths, [failure.status for failure in failures]) == ([], [Status.CANCELED])


def test_a_lost_lease_ends_a_match(tmp_path: Path, attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ("ab" * 100)).touch()
    files = result_files(tmp_path, lambda failure: None)
    file = next(files)

    def interrupted_files(*arguments: object) -> Iterator[object]:
        attempt.interrupt(Interruption.LOST)
        yield file

    monkeypatch.setattr(f"{SEARCH}.result_files", interrupted_files)
    monkeypatch.setattr("cloud_executor.model.patterns.minimatch.STEPS_BETWEEN_CHECKS", 1000)
    with pytest.raises(Interrupted):
        found(tmp_path, attempt, "*(a|b|c)*" * 2000)


def test_folders_that_link_to_each_other_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{FILES}.MAX_LINKED_ENTRIES", 1000)
    for one in range(8):
        (tmp_path / f"f{one}").mkdir()
    for one in range(8):
        for other in range(8):
            (tmp_path / f"f{one}" / f"to{other}").symlink_to(f"../f{other}")
    failures: list[JobFailed] = []
    checks: list[int] = []
    assert list(result_files(tmp_path, failures.append, lambda: checks.append(1))) == []
    assert [str(failure) for failure in failures] == [
        "The links in the job's folder lead to too many files; leave fewer links."
    ]
    assert len(checks) < 1100


def test_a_file_that_was_swapped_is_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    job = tmp_path / "job"
    for folder in ("link", "folder", "pipe"):
        (job / folder).mkdir(parents=True)
        (job / folder / "secret").write_text("of the job")
    files = {file.path: file for file in result_files(job, lambda failure: None)}
    (job / "link/secret").unlink()
    (job / "link/secret").symlink_to(secret)
    (job / "folder").rename(job / "moved")
    (job / "folder").symlink_to(tmp_path)
    (job / "pipe/secret").unlink()
    os.mkfifo(job / "pipe/secret")
    for path in ("link/secret", "folder/secret", "pipe/secret"):
        with pytest.raises(OSError, match=r"\[Errno"):
            files[path].open()
    assert not [name for name in os.listdir("/proc/self/fd") if "secret" in _target(name)]


def _target(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


def test_a_folder_that_became_a_link_is_not_listed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "name").touch()
    job = tmp_path / "job"
    (job / "folder").mkdir(parents=True)

    def swap() -> None:
        if (job / "folder").is_dir() and not (job / "folder").is_symlink():
            (job / "folder").rmdir()
            (job / "folder").symlink_to(outside)

    failures: list[JobFailed] = []
    assert list(result_files(job, failures.append, swap)) == []
    assert len(failures) == 1
