"""Run jobs, from delivery to outcome, on the embedded backends."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from worker_harness import NOT_EXECUTABLE, ORIGIN_URL, WORKER_ID, Stack, config, zip_of

from cloud_executor.model.blobs.metadata import BlobMetadata
from cloud_executor.model.jobs.job import Status

WEBGME = json.loads((Path(__file__).parents[2] / "data/webgme_results.json").read_text())["cases"]


@pytest.mark.parametrize("case", WEBGME, ids=lambda case: case["title"])
def test_a_job_ends_as_with_webgmes_worker(stack: Stack, case: dict[str, Any]) -> None:
    modes = {name: 0o100000 | mode for name, mode in case.get("modes", {}).items()}
    job = stack.run(stack.add_artifact(case["files"]) if case.get("artifact") else stack.add(case["files"], modes))
    expected = case["expect"]
    assert (job.status, job.result_hashes) == (expected["status"], expected["resultHashes"])
    times = {"startTime": job.start_time, "finishTime": job.finish_time}
    assert [name for name, time in times.items() if time] == expected["times"]


def test_a_successful_job_has_results_times_and_a_worker_but_no_error(stack: Stack) -> None:
    job = stack.run(stack.add_script("echo hello; echo problem >&2; echo 1 > made.txt"))
    assert (job.status, job.error, job.worker) == (Status.SUCCESS, None, WORKER_ID)
    assert job.start_time is not None and job.finish_time is not None
    assert job.create_time <= job.start_time <= job.finish_time
    results = stack.results(job)
    assert results.pop("executor_config.json")
    assert results == {"job_stdout.txt": b"hello\n", "job_stderr.txt": b"problem\n", "made.txt": b"1\n"}


# Failures -----------------------------------------------------------------------------------------------------------


def assert_failed(stack: Stack, job: Any, status: Status, error: str, times: str) -> None:
    job = stack.run(job)
    assert (job.status, job.error) == (status, error)
    shown = [name for name, time in (("start", job.start_time), ("finish", job.finish_time)) if time]
    assert shown == times.split()


@pytest.mark.parametrize("job_hash", ["0" * 40, "some/../job", "x\0y", "ü"])
def test_a_missing_source(stack: Stack, job_hash: str) -> None:
    job = stack.create(job_hash)
    assert_failed(stack, job, Status.FAILED_TO_GET_SOURCE_METADATA, "No blob has this hash.", "")


def test_a_source_whose_content_is_missing(stack: Stack) -> None:
    job = stack.create(stack.blobs.create_metadata(BlobMetadata.for_file("a.zip", 3, "0" * 40)).hash)
    error = f"The content '{'0' * 40}' of 'a.zip', a part of this blob, is not stored. Upload it first."
    assert_failed(stack, job, Status.FAILED_SOURCE_COULD_NOT_BE_OBTAINED, error, "")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "The source is not a zip archive, or it is damaged."),
        (b"no zip", "The source is not a zip archive, or it is damaged."),
        (zip_of({}), "The source is an empty zip archive."),
        (zip_of({"a": "x" * 5000})[:-30], "The source is not a zip archive, or it is damaged."),
    ],
)
def test_a_source_that_cannot_be_unzipped(stack: Stack, content: bytes, error: str) -> None:
    assert_failed(stack, stack.add_zip(content), Status.FAILED_UNZIP, error, "finish")


def test_an_artifact_without_files(stack: Stack) -> None:
    assert_failed(
        stack, stack.add_artifact({}), Status.FAILED_UNZIP, "The source is an artifact without files.", "finish"
    )


def test_an_artifact_with_a_file_in_place_of_a_folder(stack: Stack) -> None:
    job = stack.add_artifact({"a": "1", "a/b": "2"})
    error = "The file 'a/b' of the source could not be written: a file has the same name."
    assert_failed(stack, job, Status.FAILED_UNZIP, error, "finish")


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({"data": "{}"}, "The source has no executor_config.json at its top level."),
        (
            {"data/executor_config.json": "{}"},
            "The source has no executor_config.json at its top level, but one in the folder 'data': use the contents "
            "of that folder, not the folder itself.",
        ),
        (
            {"Executor_Config.json": "{}"},
            "The source has no executor_config.json at its top level; rename 'Executor_Config.json' to "
            "executor_config.json.",
        ),
        (
            {"executor_config.json/x": "{}"},
            "executor_config.json in the source cannot be read; it must be a regular file.",
        ),
        ({"executor_config.json": "null"}, "executor_config.json: The file must be a JSON object."),
        ({"executor_config.json": '{"cmd": 1}'}, "executor_config.json: cmd must be a nonempty string."),
        ({"executor_config.json": b" " * 2_000_000}, "executor_config.json is larger than 1048576 bytes."),
    ],
)
def test_an_invalid_config(stack: Stack, files: dict[str, str], error: str) -> None:
    job = stack.add(files)
    assert_failed(stack, job, Status.FAILED_EXECUTOR_CONFIG, error, "start finish")
    assert stack.get(job).result_hashes is None


@pytest.mark.parametrize(
    ("cmd", "error"),
    [
        ("no-such-command", "The command 'no-such-command' was not found."),
        ("./no-such-file", "The command './no-such-file' was not found."),
        ("./executor_config.json", NOT_EXECUTABLE.format("./executor_config.json")),
        ("./lost.sh", "The command './lost.sh' could not be started: its interpreter '/no/such/shell' was not found."),
        ("./lost.sh/x", "The command './lost.sh/x' was not found."),
        (".", "The command '.' is not executable."),
    ],
)
def test_a_command_that_cannot_be_started_keeps_its_results(stack: Stack, cmd: str, error: str) -> None:
    files = {"executor_config.json": config("", cmd=cmd), "lost.sh": "#!/no/such/shell\n"}
    job = stack.add(files, {"lost.sh": 0o100755})
    assert_failed(stack, job, Status.FAILED_TO_EXECUTE, error, "start finish")
    results = stack.results(job)
    assert (results["job_stdout.txt"], results["job_stderr.txt"]) == (b"", b"")


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("exit 3", "The command exited with code 3."),
        ("kill -SEGV $$", "The command was killed by signal SIGSEGV."),
        ("kill -40 $$", "The command was killed by signal 40."),
    ],
)
def test_a_failed_command_has_a_reason_and_keeps_its_results(stack: Stack, script: str, error: str) -> None:
    job = stack.add_script(f"echo partial; {script}")
    assert_failed(stack, job, Status.FAILED_TO_EXECUTE, error, "start finish")
    assert stack.results(job)["job_stdout.txt"] == b"partial\n"


def test_too_many_arguments_fail_the_job(stack: Stack) -> None:
    job = stack.add({"executor_config.json": config("", cmd="true", args=["x" * 200_000])})
    error = (
        "The command 'true' could not be started: args[0] has 200,000 bytes, and Linux accepts up to 131,071 per "
        "argument or variable. Put the data into a file."
    )
    assert_failed(stack, job, Status.FAILED_TO_EXECUTE, error, "start finish")


# The command's environment ------------------------------------------------------------------------------------------


def test_the_environment_has_only_path_and_language_from_the_worker(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    monkeypatch.setenv("EXECUTOR_NONCE", "s3cret")
    job = stack.run(stack.add({"executor_config.json": config("", cmd="env", args=[])}))
    lines = stack.results(job)["job_stdout.txt"].decode().splitlines()
    environment = dict(line.partition("=")[::2] for line in lines)
    assert set(environment) == {
        *("PATH", "LANG", "HOME", "TMPDIR", "USER", "LOGNAME", "SHELL", "PYTHONUNBUFFERED"),
        *("ORIGIN_URL", "CLOUD_EXECUTOR_ATTEMPT"),
    }
    assert environment["ORIGIN_URL"] == ORIGIN_URL
    assert environment["PATH"] == os.environ["PATH"]


def test_temporary_files_and_files_in_home_are_not_results(stack: Stack) -> None:
    script = 'echo 1 > "$TMPDIR/temporary"; mkdir ~/.cache; echo 2 > "$HOME/.cache/x"; echo 3 > result; stat -c %a ~'
    results = stack.results(stack.run(stack.add_script(script)))
    assert set(results) == {"executor_config.json", "job_stdout.txt", "job_stderr.txt", "result"}
    assert results["job_stdout.txt"] == b"700\n"


def test_a_job_overrides_the_variables_of_its_pool_and_a_pool_those_of_all_jobs(tmp_path: Path) -> None:
    stack = Stack(
        tmp_path,
        EXECUTOR_JOB_ENV='{"A": "all", "B": "all", "C": "all", "PYTHONUNBUFFERED": "all"}',
        EXECUTOR_POOLS='[{"name": "only", "env": {"B": "pool", "C": "pool"}}]',
    )
    job = stack.run(stack.add_script("echo $A $B $C $PYTHONUNBUFFERED", env={"C": "job"}))
    assert stack.results(job)["job_stdout.txt"] == b"all pool job all\n"


def test_output_files_of_the_source_are_replaced(stack: Stack, tmp_path: Path) -> None:
    files = {
        "executor_config.json": config("echo new"),
        "job_stdout.txt": "much longer old text",
        "target": "kept",
        "job_stderr.txt": "target",
    }
    job = stack.run(stack.add(files, {"job_stderr.txt": 0o120777}))
    results = stack.results(job)
    assert (results["job_stdout.txt"], results["job_stderr.txt"], results["target"]) == (b"new\n", b"", b"kept")


# The command's leftovers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        "rm -rf ../job",
        "rm -rf ../job; ln -s /etc ../job",
        'rm -rf "$PWD/../../"*',
    ],
)
def test_a_job_that_removes_its_own_folder_has_no_files(stack: Stack, script: str) -> None:
    job = stack.run(stack.add_script(script))
    assert job.status == Status.SUCCESS
    assert stack.results(job) == {}


@pytest.mark.parametrize(
    "script",
    [
        "mkdir -p a/b; echo 1 > a/b/c; chmod 0555 a/b a",
        "mkdir -p a/b; chmod 0 a/b; chmod 0 a",
        "python3 -c \"\nimport os\nfor _ in range(3000):\n os.mkdir('deeper'); os.chdir('deeper')\"",
    ],
)
def test_every_folder_is_removed(stack: Stack, script: str) -> None:
    assert shutil.which("python3")
    stack.run(stack.add_script(script, [{"name": "top", "resultPatterns": ["job_stdout.txt"]}]))
    assert list(stack.work.iterdir()) == []
