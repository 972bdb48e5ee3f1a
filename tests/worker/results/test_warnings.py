"""Warnings about results that a job's owner may miss."""

from __future__ import annotations

import time

import pytest
from worker_harness import Stack

from cloud_executor.model.documents.executor_config import ResultArtifact
from cloud_executor.model.jobs.job import Status
from cloud_executor.model.patterns.minimatch import ResultPatterns
from worker_vm.worker.results.unmatched import UnmatchedPatterns

SCRIPT = (
    "mkdir -p out/deep run-1; echo 1 > out/data.csv; echo 2 > out/deep/model.h5; echo 3 > run-1/log; echo 4 > Plot.png"
)
NONE = "No file matches the patterns of the artifact 'a'."


@pytest.mark.parametrize(
    ("patterns", "warning"),
    [
        (["out"], f"{NONE} 'out' is a folder; use 'out/**'."),
        (["./out/"], f"{NONE} 'out' is a folder; use 'out/**'."),
        (["out/deep"], f"{NONE} 'out/deep' is a folder; use 'out/deep/**'."),
        (["run-*"], f"{NONE} 'run-*' matches folders only; use 'run-*/**'."),
        (["*.csv"], f"{NONE} The nearest names are: 'out/data.csv'."),
        (["./Plot.png"], f"{NONE} The nearest names are: 'Plot.png'."),
        (["out\\data.csv"], f"{NONE} The nearest names are: 'out/data.csv'."),
        (["plot.PNG"], f"{NONE} The nearest names are: 'Plot.png'."),
        (["out/date.csv"], f"{NONE} The nearest names are: 'out/data.csv'."),
        (["modell.h5"], f"{NONE} The nearest names are: 'out/deep/model.h5'."),
        (
            ["zzz"],
            f"{NONE} The job's files are: 'Plot.png', 'executor_config.json', 'job_stderr.txt', …",
        ),
        (["# zzz", "!**"], f"{NONE} The job's files are: 'Plot.png', 'executor_config.json', 'job_stderr.txt', …"),
        (["Plot.png", "out"], "'out' is a folder; use 'out/**'."),
    ],
)
def test_an_artifact_that_misses_its_files_has_a_warning(stack: Stack, patterns: list[str], warning: str) -> None:
    job = stack.run(stack.add_script(SCRIPT, [{"name": "a", "resultPatterns": patterns}]))
    assert job.status == Status.SUCCESS
    (found,) = job.document()["warnings"]  # type: ignore[misc] - a tuple
    assert found.removesuffix(".") == warning.removesuffix(".")


@pytest.mark.parametrize("patterns", [[], ["*"], ["out/**"], ["zzz", "Plot.png"], ["!zzz"]])
def test_an_artifact_with_files_has_no_warning(stack: Stack, patterns: list[str]) -> None:
    job = stack.run(stack.add_script(SCRIPT, [{"name": "a", "resultPatterns": patterns}]))
    assert "warnings" not in job.document()


def test_a_failed_command_has_the_warnings_too(stack: Stack) -> None:
    job = stack.run(stack.add_script("exit 3", [{"name": "a", "resultPatterns": ["job_stdout"]}]))
    assert (job.status, job.warnings) == (
        Status.FAILED_TO_EXECUTE,
        (f"{NONE} The nearest names are: 'job_stdout.txt', 'job_stderr.txt'.",),
    )


def test_output_that_replaces_a_file_or_is_not_in_the_results_has_a_warning(stack: Stack) -> None:
    script = "echo 1 > job_stdout.txt; mkdir job_stderr.txt; echo 2 > job_stderr.txt/x; echo out; echo err >&2"
    assert stack.run(stack.add_script(script)).warnings == (
        "The command's output replaced a file of the job, job_stdout.txt.",
        "The job made a folder job_stderr.txt, so only its logs contain the command's output.",
    )


def test_many_names_and_patterns_take_a_bounded_time() -> None:
    artifacts = [
        ResultArtifact(str(number), ResultPatterns([f"{'*a' * 50}{pattern}" for pattern in range(50)]))
        for number in range(20)
    ]
    unmatched = UnmatchedPatterns(artifacts)
    for number in range(20_000):
        unmatched.note(f"{'a' * 150}/{number}/{number}", ())
    start = time.monotonic()
    assert len(unmatched.warnings()) == 10
    assert time.monotonic() - start < 20


def test_a_folder_after_many_files_is_known() -> None:
    unmatched = UnmatchedPatterns([ResultArtifact("a", ResultPatterns(["last"]))])
    for number in range(20_000):
        unmatched.note(f"{number}/x", ())
    unmatched.note("last/deep/x", ())
    assert unmatched.warnings() == (f"{NONE} 'last' is a folder; use 'last/**'.",)
