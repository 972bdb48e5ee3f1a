"""The files with a command's output, in every sandbox and in the results."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_bench import LIMITS, Bench
from worker_harness import Stack, config, is_running

from cloud_executor.model.jobs.job import Status
from worker_vm.worker.sandbox.limits import MIB
from worker_vm.worker.sandbox.process.sandbox import ProcessSandbox

CONFIG, STDOUT, STDERR = "executor_config.json", "job_stdout.txt", "job_stderr.txt"


@pytest.fixture
def process_bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(Stack(tmp_path), ProcessSandbox()) as bench:
        yield bench


@pytest.mark.parametrize(
    ("script", "stdout", "stderr"),
    [
        ("echo a; echo b > /dev/stdout; echo c", "a\nb\nc\n", ""),
        ("echo a >&2; echo b > /dev/stderr; echo c >&2", "", "a\nb\nc\n"),
        ("echo a; echo b | tee /dev/stderr; echo c", "a\nb\nc\n", "b\n"),
        ("echo a; cp given /dev/stdout; dd if=given of=/proc/self/fd/1 2> /dev/null; echo c", "a\ng\ng\nc\n", ""),
        ("echo a; cat * > ../all && tail -c 2 ../all", "a\ng\n", ""),
        ("echo a; grep -r ^g .", "a\n./given:g\n", ""),
        ("echo a; ls", "a\nexecutor_config.json\ngiven\n", ""),
        ("echo a; rm -rf *; echo c", "a\nc\n", ""),
        ("echo a; (sleep 0.2; echo late) &", "a\nlate\n", ""),
    ],
)
def test_a_command_does_not_meet_its_own_output(stack: Stack, script: str, stdout: str, stderr: str) -> None:
    job = stack.run(stack.add({CONFIG: config(script), "given": "g\n"}))
    results = stack.results(job)
    assert (job.error, results[STDOUT].decode(), results[STDERR].decode()) == (None, stdout, stderr)


def test_a_python_program_logs_to_its_output(stack: Stack) -> None:
    program = (
        "import logging, sys\n"
        "print('first', flush=True)\n"
        "logger = logging.getLogger()\n"
        "logger.addHandler(logging.FileHandler('/dev/stdout'))\n"
        "logger.error('second')\n"
        "print('third')\n"
    )
    job = stack.run(stack.add({CONFIG: config("python3 program.py"), "program.py": program}))
    assert stack.results(job)[STDOUT] == b"first\nsecond\nthird\n"


def test_the_order_of_one_stream_is_kept_and_nothing_is_lost(process_bench: Bench) -> None:
    process_bench.limits = LIMITS
    size = 30 * MIB
    ran = process_bench.script(f"yes | head -c {size // 2}; yes n | head -c {size // 2} >&2; echo end; echo end >&2")
    assert ran.ending.exit_code == 0
    for name, line in ((STDOUT, b"y\n"), (STDERR, b"n\n")):
        assert (process_bench.folder.root / name).read_bytes() == line * (size // 4) + b"end\n"


# The names of the files in the job's folder -------------------------------------------------------------------------


def test_output_replaces_files_and_links_that_the_job_made(stack: Stack) -> None:
    script = f"echo mine > {STDOUT}; echo kept > target; ln -s target {STDERR}; echo out; echo err >&2"
    results = stack.results(stack.run(stack.add_script(script)))
    assert (results[STDOUT], results[STDERR], results["target"]) == (b"out\n", b"err\n", b"kept\n")


def test_a_file_that_the_job_made_is_kept_if_the_output_is_empty(stack: Stack) -> None:
    results = stack.results(stack.run(stack.add_script(f"(echo out; echo err >&2) > {STDOUT} 2> {STDERR}")))
    assert (results[STDOUT], results[STDERR]) == (b"out\n", b"err\n")


@pytest.mark.parametrize("made_by", ["source", "command"])
def test_a_folder_with_the_name_of_an_output_file_is_kept(stack: Stack, made_by: str) -> None:
    files = {CONFIG: config(f"mkdir -p {STDOUT}; echo 1 > {STDOUT}/x; echo out; echo err >&2")}
    job = stack.run(stack.add(files if made_by == "command" else {**files, f"{STDOUT}/x": ""}))
    results = stack.results(job)
    assert (job.status, results[f"{STDOUT}/x"], results[STDERR]) == (Status.SUCCESS, b"1\n", b"err\n")
    assert STDOUT not in results


def test_a_link_in_place_of_the_jobs_folder_is_not_followed(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    job = stack.run(stack.add_script(f"echo out; rm -rf ../job; ln -s {tmp_path}/outside ../job"))
    assert (job.status, list((tmp_path / "outside").iterdir())) == (Status.SUCCESS, [])


def test_a_folder_that_must_not_be_written_gets_its_output_files(stack: Stack) -> None:
    results = stack.results(stack.run(stack.add_script("echo out; chmod 0555 .")))
    assert results[STDOUT] == b"out\n"


# Limits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", ["", ">&2"])
def test_output_counts_towards_the_disk_limit_even_if_its_file_is_deleted(process_bench: Bench, stream: str) -> None:
    ran = process_bench.script(f"rm -f ../{STDOUT} ../{STDERR}; yes {stream}")
    assert ran.ending.exceeded == "The command used more than 32 MiB of disk."
    assert sum(path.stat().st_size for path in process_bench.folder.root.rglob("*")) < 2 * 32 * MIB


def test_a_short_command_whose_output_is_too_large_fails(process_bench: Bench) -> None:
    ran = process_bench.script(f"head -c {33 * MIB} /dev/zero")
    assert ran.ending.exceeded == "The command used more than 32 MiB of disk."
    assert (process_bench.folder.root / STDOUT).stat().st_size <= 32 * MIB


def test_processes_that_keep_the_output_open_do_not_delay_the_job(stack: Stack) -> None:
    start = time.monotonic()
    job = stack.run(stack.add_script("echo out; (trap '' HUP TERM INT; setsid sleep 600) & echo $! > pid"))
    assert time.monotonic() - start < 20
    results = stack.results(job)
    assert (job.status, results[STDOUT]) == (Status.SUCCESS, b"out\n")
    assert not is_running(int(results["pid"]))
