"""Test what counts towards a job's disk limit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from worker_harness import Stack

from cloud_executor.model.jobs.job import Status
from worker_vm.worker.sandbox.container.engine import ContainerEngine
from worker_vm.worker.sandbox.disk_usage import DiskUsage
from worker_vm.worker.sandbox.limits import Limits


def test_empty_files_count(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / str(number)).touch()
    assert DiskUsage(tmp_path, Limits(disk_mib=1))._scan(2**20) == "The command used more than 1 MiB of disk."
    assert DiskUsage(tmp_path, Limits(disk_mib=2))._scan(2 * 2**20) is None


def test_a_command_can_open_few_files(stack: Stack) -> None:
    job = stack.run(stack.add_script("sleep 0.2; sh -c 'ulimit -Sn; ulimit -Hn'"))
    assert job.status == Status.SUCCESS
    assert stack.results(job)["job_stdout.txt"] == b"1024\n4096\n"


def test_the_volumes_of_an_image_are_known() -> None:
    engine: Any = ContainerEngine.__new__(ContainerEngine)
    volumes = {"/var/lib/data/": {}, "/tmp": {}}
    engine._client = SimpleNamespace(inspect_image=lambda image: {"Config": {"Volumes": volumes}})
    assert engine._volumes("image") == {"/var/lib/data"}
    engine._client = SimpleNamespace(inspect_image=lambda image: {"Config": {"Volumes": None}})
    assert engine._volumes("image") == set()
