"""A file system for each slot, as a worker VM makes them (worker_vm/cloud-init.yaml), limits whatever a job writes."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from requirement import lacking
from sandbox_bench import LIMITS, Bench
from worker_harness import Stack
from worker_machine import machine_file, written_files

from cloud_executor.settings import InvalidSetting
from worker_vm.worker.main import open_work_folder
from worker_vm.worker.sandbox.interface import Sandbox
from worker_vm.worker.work_folder import WorkFolder

MIB = 2**20
SIZE_MIB = 32
DISKS = 2


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack whose work folder has disks."""
    if os.geteuid() != 0:
        lacking("docker", "Only root can mount file systems.")
    found = Stack(tmp_path)
    found.work.mkdir(parents=True, exist_ok=True)
    script = tmp_path / "make-disks.sh"
    script.write_text(
        written_files(machine_file({"EXECUTOR_SANDBOX": "container"}))["/etc/cloud-executor/make-disks.sh"]
    )
    command = ["bash", str(script), str(found.work), str(tmp_path / "images"), str(DISKS), str(SIZE_MIB)]
    try:
        for _ in range(2):  # the second time, there is nothing to do
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            if "mount" in done.stderr:
                lacking("docker", f"File systems cannot be mounted here: {done.stderr.strip()}")
            assert done.returncode == 0, done.stderr
        yield found
    finally:
        for disk in found.work.glob("disk-*"):
            subprocess.run(["umount", "--lazy", str(disk)], capture_output=True, timeout=60)


def test_a_job_can_neither_write_more_bytes_nor_more_files_than_its_disk_has(
    stack: Stack, containers: Callable[..., Sandbox]
) -> None:
    """Even if the worker counts nothing, as between two of its checks."""
    with Bench(stack, containers(), DISKS) as bench:
        bench.limits = replace(LIMITS, disk_mib=None)
        hidden = bench.script("exec 3> a; rm a; cat /dev/zero >&3")
        assert b"No space left on device" in hidden.stderr
        used = sum(file.stat().st_blocks for file in (stack.work.parent / "images").iterdir()) * 512
        assert used < DISKS * (SIZE_MIB * 9 / 8 + 65) * MIB
        ran = bench.script("head -c 20000000 /dev/zero > b && echo there is room again")
        assert ran.stdout == b"there is room again\n"
        many = bench.script("rm b; touch $(seq 20000) 2> /dev/null; ls | wc -l")
        assert SIZE_MIB * 256 <= int(many.stdout) < SIZE_MIB * 256 + 2048


def test_the_worker_can_still_write_when_the_disk_is_full_for_the_job(
    stack: Stack, containers: Callable[..., Sandbox]
) -> None:
    with Bench(stack, containers(), DISKS) as bench:
        bench.limits = replace(LIMITS, disk_mib=None)
        assert b"No space left on device" in bench.script("cat /dev/zero > a").stderr
        bench.folder.stdout.write_bytes(bytes(100_000))
        bench.folder.stdout.rename(bench.folder.job / "job_stdout.txt")


def test_a_job_that_exceeds_the_limit_before_its_disk_is_full_is_stopped(
    stack: Stack, containers: Callable[..., Sandbox]
) -> None:
    with Bench(stack, containers(), DISKS) as bench:
        ran = bench.script("cat /dev/zero > a; sleep 60")
        assert ran.ending.exceeded == f"The command used more than {SIZE_MIB} MiB of disk."


def test_each_attempt_has_a_disk_of_its_own(stack: Stack) -> None:
    work = open_work_folder(stack.work, DISKS)
    for _ in range(3):
        with work.attempt() as one, work.attempt() as other:
            assert {one.root.parent, other.root.parent} == {stack.work / "disk-1", stack.work / "disk-2"}
            with pytest.raises(OSError) as failed, work.attempt():
                pass
            assert failed.value.errno == errno.ENOSPC
        with pytest.raises(ZeroDivisionError), work.attempt():
            raise ZeroDivisionError


def test_leftovers_are_removed_from_the_disks(stack: Stack) -> None:
    left = stack.work / "disk-2" / "attempt-left"
    left.mkdir()
    ended: list[Path] = []
    WorkFolder(stack.work, DISKS).sweep(ended.append)
    assert ended == [left]
    assert not left.exists()


def test_a_disk_that_is_not_mounted_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "disk-1").mkdir()
    with pytest.raises(InvalidSetting, match="cannot be used: no disk is mounted"):
        open_work_folder(tmp_path, 1)
