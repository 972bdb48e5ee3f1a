"""Test that standard output is sent in segments while the command runs."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace

import pytest
from worker_harness import Stack, config, until

from cloud_executor.composition import Jobs
from cloud_executor.errors import Unavailable
from cloud_executor.jobs.attempts import Attempts
from cloud_executor.model.jobs.job import Job, OutputSegment, Status
from cloud_executor.ports import JobChange
from worker_vm.worker.command.output import SEGMENT_BYTES

OUT = [{"name": "out", "resultPatterns": ["job_stdout.txt"]}]


def python(script: str, **fields: object) -> str:
    return config("", OUT, cmd=sys.executable, args=["-c", script], **fields)


def joined(stack: Stack, job: Job) -> str:
    segments = stack.output(job)
    assert [number for number, _ in segments] == list(range(len(segments)))
    return "".join(text for _, text in segments)


def test_there_are_no_segments_by_default(stack: Stack) -> None:
    job = stack.run(stack.add_script("echo x", outputInterval=-1, outputSegmentSize=0))
    assert (stack.output(job), job.output_number) == ([], None)


def test_segments_are_sent_by_lines_while_the_command_runs(stack: Stack) -> None:
    job = stack.add_script("echo 1; echo 2; until test -e go; do sleep 0.01; done; printf 3", outputSegmentSize=2)
    with stack.worker() as worker, worker.running():
        assert until(lambda: stack.output(job)) == [(0, "1\n2\n")]
        assert (stack.get(job).status, stack.get(job).output_number) == (Status.RUNNING, 0)
        (folder,) = stack.work.glob("*/job")
        (folder / "go").touch()
    assert stack.output(job) == [(0, "1\n2\n"), (1, "3")]
    assert stack.get(job).output_number == 1


def test_segments_are_sent_by_time_while_the_command_runs(stack: Stack) -> None:
    job = stack.add_script("printf a; until test -e go; do sleep 0.01; done; printf b", outputInterval=50)
    with stack.worker() as worker, worker.running():
        assert until(lambda: stack.output(job)) == [(0, "a")]
        (folder,) = stack.work.glob("*/job")
        (folder / "go").touch()
    assert joined(stack, job) == "ab"


def test_an_incomplete_segment_is_sent_at_the_end(stack: Stack) -> None:
    job = stack.run(stack.add_script("echo 1; echo 2; echo err >&2", outputSegmentSize=1000))
    assert stack.output(job) == [(0, "1\n2\n")]


def test_a_command_without_output_has_no_segments(stack: Stack) -> None:
    job = stack.run(stack.add_script("true", outputInterval=10, outputSegmentSize=1))
    assert (stack.output(job), job.output_number) == ([], None)


def test_all_output_is_sent_before_the_job_is_finished(stack: Stack) -> None:
    seen: list[str] = []

    class Watched(Attempts):
        def finish(self, *arguments: object) -> Job:
            seen.append(joined(stack, job))
            return super().finish(*arguments)  # type: ignore[arg-type]

    jobs = stack.jobs_with(Watched)
    job = stack.add_script("seq 1000", outputSegmentSize=1)
    with stack.worker(jobs=jobs) as worker:
        worker.run_next()
    assert seen == ["".join(f"{number}\n" for number in range(1, 1001))]


def test_a_failing_command_has_its_output(stack: Stack) -> None:
    job = stack.run(stack.add_script("echo before; exit 7", outputSegmentSize=1))
    assert (job.error, joined(stack, job)) == ("The command exited with code 7.", "before\n")


def test_characters_split_between_two_writes_stay_whole(stack: Stack) -> None:
    script = """
import os, time
for byte in "ü漢😀\\n".encode() * 20:
    os.write(1, bytes([byte])); time.sleep(0.002)
"""
    job = stack.run(stack.add({"executor_config.json": python(script, outputInterval=1, outputSegmentSize=1)}))
    assert len(stack.output(job)) > 5
    assert joined(stack, job) == "ü漢😀\n" * 20


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (b"a\xff\xfeb", "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}b"),
        ("€".encode()[:2], "\N{REPLACEMENT CHARACTER}"),
        (b"a\0b\r\n", "a\0b\r\n"),
    ],
)
def test_invalid_utf_8_is_replaced(stack: Stack, written: bytes, expected: str) -> None:
    script = f"import os; os.write(1, {written!r})"
    job = stack.run(stack.add({"executor_config.json": python(script, outputInterval=10)}))
    assert joined(stack, job) == expected
    assert stack.results(job, "out")["job_stdout.txt"] == written


def test_an_endless_line_is_split_into_segments(stack: Stack) -> None:
    size = 20 * 1024**2
    script = f"import os\nfor _ in range({size} // 4096): os.write(1, ('é' * 2048).encode())"
    job = stack.run(stack.add({"executor_config.json": python(script, outputSegmentSize=1)}))
    assert max(len(text.encode()) for _, text in stack.output(job)) <= SEGMENT_BYTES
    assert joined(stack, job) == "é" * (size // 2)


def test_segment_numbers_continue_after_a_lost_worker(stack: Stack) -> None:
    job = stack.add_script("echo again", outputSegmentSize=1)
    lost = stack.jobs.attempts.claim(job.hash, "lost")
    for number, text in enumerate(("first\n", "second\n")):
        stack.jobs.attempts.put_output(OutputSegment(job.hash, number, text), lost.attempt)
    stack.jobs.attempts.release(job.hash, lost.attempt)
    job = stack.run(job)
    assert stack.output(job) == [(0, "first\n"), (1, "second\n"), (2, "again\n")]


def failing(stack: Stack, times: int) -> Jobs:
    """Use cases that fail to store the first `times` segments of output."""
    left = times
    put_output = stack.jobs.store.put_output

    def fail_at_first(segment: OutputSegment, change: JobChange) -> Job | None:
        nonlocal left
        if left:
            left -= 1
            raise Unavailable
        return put_output(segment, change)

    store = copy.copy(stack.jobs.store)
    store.put_output = fail_at_first  # type: ignore[method-assign]
    return replace(stack.jobs, store=store)


def test_no_output_is_lost_if_the_storage_fails_temporarily(stack: Stack) -> None:
    job = stack.add_script("seq 3", outputSegmentSize=1)
    with stack.worker(jobs=failing(stack, 3)) as worker:
        worker.run_next()
    assert (stack.get(job).error, joined(stack, job)) == (None, "1\n2\n3\n")


def test_output_that_cannot_be_stored_is_reported_and_kept_in_the_results(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker_vm.worker.retry.FIRST_DELAY_SECONDS", 100)
    job = stack.add_script("seq 3", outputSegmentSize=1)
    with stack.worker(jobs=failing(stack, 1_000)) as worker:
        worker.run_next()
    job = stack.get(job)
    assert job.status == Status.SUCCESS
    assert job.error == (
        "Part of the output could not be stored while the command ran: A storage service is unavailable; try again."
    )
    assert stack.results(job)["job_stdout.txt"] == b"1\n2\n3\n"


def test_a_command_can_remove_its_own_output_file(stack: Stack) -> None:
    job = stack.run(stack.add_script("echo 1; rm job_stdout.txt; echo 2", outputInterval=10))
    assert joined(stack, job) == "1\n2\n"
