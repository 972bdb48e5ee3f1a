"""Hostile jobs: each one ends properly and does not affect the next one in the slot."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from sandbox_bench import Bench
from worker_harness import is_running, until

from worker_vm.worker.results.result_files import result_files
from worker_vm.worker.sandbox.interface import Sandbox
from worker_vm.worker.work_folder import WorkFolder


@pytest.fixture(autouse=True)
def _next_job_is_unharmed(bench: Bench) -> object:
    """After each command, the folder can be removed and another command runs."""
    yield
    root = bench.folder.root
    with Bench(bench.stack, bench.sandbox) as following:
        assert following.script("echo fine").stdout == b"fine\n"
    bench.__exit__(None, None, None)
    assert not root.exists()


def found(bench: Bench) -> set[str]:
    failures: list[Exception] = []
    files = {file.path for file in result_files(bench.folder.job, failures.append)}
    assert failures == []
    return files


def test_a_command_that_fills_the_disk(bench: Bench) -> None:
    ran = bench.script("i=0; while :; do head -c 4000000 /dev/zero > $i; i=$((i+1)); sleep 0.05; done")
    assert ran.ending.exceeded == "The command used more than 32 MiB of disk."


def test_a_command_that_fills_the_disk_deeper_than_the_longest_path(bench: Bench) -> None:
    down = "d=$(printf %0200d 0); i=0; while [ $i -lt 30 ]; do mkdir $d; cd -P $d || exit; i=$((i+1)); done"
    ran = bench.script(f"{down}; i=0; while :; do head -c 4000000 /dev/zero > $i; i=$((i+1)); sleep 0.05; done")
    assert ran.ending.exceeded == "The command used more than 32 MiB of disk."


def test_a_command_that_creates_very_deep_folders(bench: Bench) -> None:
    ran = bench.script("while :; do mkdir d; cd d; done")
    assert (
        ran.ending.exceeded
        == "The command created more than 100 levels of folders; their disk usage cannot be checked."
    )


def test_a_command_that_writes_a_file_that_is_too_large(bench: Bench) -> None:
    ran = bench.script("exec head -c 2000000000 /dev/zero > file")
    assert ran.ending.exceeded == "The command used more than 32 MiB of disk."
    assert (bench.folder.job / "file").stat().st_size <= 32 * 2**20


def test_a_command_that_deletes_the_files_that_it_writes(bench: Bench) -> None:
    fill = "head -c 20000000 /dev/zero"
    ran = bench.script(f"exec 3> a 4> b; rm a b; {fill} >&3; {fill} >&4; sleep 60")
    assert ran.ending.exceeded == "The command used more than 32 MiB of disk."


def test_a_deleted_file_counts_once(bench: Bench) -> None:
    ran = bench.script("exec 3> a; rm a; head -c 20000000 /dev/zero >&3; exec 4>&3; sleep 1.5 & sleep 1.5; wait")
    assert (ran.ending.exceeded, ran.ending.exit_code) == (None, 0)


def test_a_command_with_endless_output(bench: Bench) -> None:
    ran = bench.script("yes", lambda chunk: time.sleep(0.001))
    assert ran.ending.exceeded == "The command used more than 32 MiB of disk."


def test_a_command_whose_line_never_ends(bench: Bench) -> None:
    longest = 0

    def receive(chunk: bytes) -> None:
        nonlocal longest
        longest = max(longest, len(chunk))

    size = 16 * 2**20
    ran = bench.script(f"head -c {size} /dev/zero | tr '\\0' x", receive)
    assert ran.ending.exit_code == 0
    assert (bench.folder.root / "job_stdout.txt").stat().st_size == size
    assert longest <= 64 * 1024


def test_a_command_that_ignores_signals_and_leaves_processes(bench: Bench) -> None:
    marker = f"6{os.getpid()}"  # A number of seconds that nothing else sleeps for.
    ran = bench.script(f"trap '' INT TERM HUP; setsid sleep {marker} & sleep {marker} & echo started")
    assert (ran.ending.exit_code, ran.stdout) == (0, b"started\n")
    left = [
        int(process.name)
        for process in Path("/proc").iterdir()
        if process.name.isdigit() and is_running(int(process.name)) and marker.encode() in _arguments(process)
    ]
    assert left == []


def _arguments(process: Path) -> list[bytes]:
    try:
        return (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def test_a_command_that_closes_its_output(bench: Bench) -> None:
    ran = bench.script("echo before; exec > /dev/null 2>&1 0<&-; exec 1>&- 2>&-; sleep 0.3; touch late; exit 4")
    assert (ran.ending.exit_code, ran.stdout) == (4, b"before\n")
    assert (bench.folder.job / "late").exists()


def test_a_command_that_deletes_its_folder(bench: Bench) -> None:
    ran = bench.script('rm -rf "$PWD" 2> /dev/null; rm -rf ./* ; echo gone')
    assert (ran.ending.exit_code, ran.stdout) == (0, b"gone\n")
    assert found(bench) == set()


def test_a_command_that_leaves_fifos_links_and_unreadable_files(bench: Bench) -> None:
    script = "mkfifo fifo; ln -s . loop; ln -s b a; ln -s a b; ln -s /etc/passwd out; mkdir closed; echo x > closed/x; "
    ran = bench.script(script + "chmod 0 closed/x closed; echo kept > kept")
    assert ran.ending.exit_code == 0
    if os.geteuid() == 0:
        assert found(bench) == {"kept", "closed/x"}


def test_a_command_that_creates_many_files(bench: Bench) -> None:
    ran = bench.script("i=0; while [ $i -lt 3000 ]; do : > $i; i=$((i+1)); done")
    assert ran.ending.exit_code == 0
    assert len(found(bench)) == 3000


def test_a_dead_workers_command_is_ended_by_the_next_worker(bench: Bench, sandbox: Sandbox) -> None:
    """The test calls the cleanup itself, because this worker still locks the folder."""
    with bench.running("trap '' INT TERM; touch ready; while :; do sleep 0.1; done") as ran:
        until((bench.folder.job / "ready").exists)
        sandbox.end_leftovers(bench.folder.root)
    assert ran[0].ending.signal == signal.SIGKILL


def test_commands_of_other_attempts_are_not_ended(bench: Bench, sandbox: Sandbox) -> None:
    with bench.running("touch ready; until test -e go; do sleep 0.05; done") as ran:
        until((bench.folder.job / "ready").exists)
        WorkFolder(bench.stack.work).sweep(sandbox.end_leftovers)
        sandbox.end_leftovers(bench.stack.work / "attempt-other")
        (bench.folder.job / "go").touch()
    assert ran[0].ending.exit_code == 0
