"""GPUs in job containers, with fakes for the machine's devices and driver."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from containers.docker_engine import IMAGE
from requirement import lacking
from sandbox_bench import Bench
from worker_harness import Stack

from cloud_executor.errors import Unavailable
from cloud_executor.model.jobs.pool import WorkerPool
from worker_vm.worker.main import open_sandbox

NULL, ZERO = os.makedev(1, 3), os.makedev(1, 5)
POOL = WorkerPool("default", image=IMAGE, gpus=2)
SEEN = "ls -1 /dev | grep nvidia; ls -1 /usr/local/nvidia"


@pytest.fixture(autouse=True)
def machine(engine: docker.APIClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the machine's devices. It has one GPU more than its pool's setting."""
    devices, driver = tmp_path / "dev", tmp_path / "driver"
    devices.mkdir()
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm"):
        try:
            os.mknod(devices / name, stat.S_IFCHR, ZERO if name == "nvidia1" else NULL)
        except PermissionError:
            lacking("docker", "Only root, with the right to make devices, can have stand-ins for GPUs.")
        (devices / name).chmod(0o666)
    for folder in ("bin", "lib64"):
        (driver / folder).mkdir(parents=True)
    (driver / "bin/nvidia-smi").write_text("#!/bin/sh\necho driver\n")
    (driver / "bin/nvidia-smi").chmod(0o755)
    (driver / "lib64/libcuda.so.1").write_text("library\n")
    monkeypatch.setattr("worker_vm.worker.sandbox.container.gpus.DEVICES", str(devices))
    monkeypatch.setattr("worker_vm.worker.sandbox.container.gpus.DRIVER", str(driver))
    return devices


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[[WorkerPool], Bench]]:
    """Creates the bench for a worker of a pool."""
    made: list[Bench] = []

    def make(pool: WorkerPool) -> Bench:
        made.append(Bench(Stack(tmp_path / str(len(made))), open_sandbox(pool, tmp_path)).__enter__())
        return made[-1]

    yield make
    for each in made:
        each.__exit__()


def test_a_job_gets_the_machines_gpus_and_driver(bench: Callable[[WorkerPool], Bench]) -> None:
    ran = bench(POOL).script(f"{SEEN}; /usr/local/nvidia/bin/nvidia-smi; cat $LD_LIBRARY_PATH/libcuda.so.1")
    assert ran.stdout.decode().split() == [
        *("nvidia-uvm", "nvidia0", "nvidia1", "nvidiactl"),
        *("bin", "lib64"),
        *("driver", "library"),
    ]
    ran = bench(POOL).script("head -c 2 /dev/nvidia1 | wc -c; echo x > /dev/nvidia0 && echo written")
    assert ran.stdout.split() == [b"2", b"written"]


def test_the_driver_cannot_be_changed_and_no_other_device_can_be_created(bench: Callable[[WorkerPool], Bench]) -> None:
    ran = bench(POOL).script("for f in bin lib64; do touch /usr/local/nvidia/$f/x; done; mknod /tmp/x c 1 3; ls /tmp")
    assert ran.ending.exit_code == 0 and ran.stdout == b""
    assert ran.stderr.count(b"Read-only file system") == 2


def test_a_job_gets_no_gpus_on_a_machine_without_gpus(bench: Callable[[WorkerPool], Bench]) -> None:
    ran = bench(replace(POOL, gpus=0)).script(f'{SEEN}; echo "<$LD_LIBRARY_PATH>"')
    assert ran.stdout == b"<>\n"


def test_the_images_library_path_is_kept_and_the_job_can_override_it(
    engine: docker.APIClient, bench: Callable[[WorkerPool], Bench]
) -> None:
    made = engine.create_container(IMAGE, command="true")["Id"]
    engine.commit(made, "cloud-executor-tests", "cuda", changes=["ENV LD_LIBRARY_PATH=/usr/local/cuda/lib64:/opt"])
    engine.remove_container(made)
    own = bench(replace(POOL, image="cloud-executor-tests:cuda"))
    assert own.script("echo $LD_LIBRARY_PATH").stdout == b"/usr/local/nvidia/lib64:/usr/local/cuda/lib64:/opt\n"
    own.env = {"LD_LIBRARY_PATH": "/job/lib"}
    assert own.script("echo $LD_LIBRARY_PATH").stdout == b"/job/lib\n"


def test_slots_share_the_gpus(bench: Callable[[WorkerPool], Bench]) -> None:
    first, second = bench(POOL), bench(POOL)
    with first.running("until test -e go; do sleep 0.02; done; ls /dev/nvidia0") as ran:
        assert second.script("ls /dev/nvidia0").stdout == b"/dev/nvidia0\n"
        (first.folder.job / "go").touch()
    assert ran[0].stdout == b"/dev/nvidia0\n"


def test_a_missing_gpu_does_not_fail_the_job(bench: Callable[[WorkerPool], Bench], machine: Path) -> None:
    (machine / "nvidia1").unlink()
    with pytest.raises(Unavailable):
        bench(POOL).script("true")
