"""A Docker Engine of the tests' own: no network of the machine is touched, and no registry is needed."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest
from memory_folders import memory_folder
from requirement import lacking

IMAGE = "cloud-executor-tests:busybox"
START_SECONDS = 60.0


class EngineMissing(Exception):
    """The message says what the machine lacks."""


@pytest.fixture(scope="session")
def engine_address() -> Iterator[str]:
    """Address of the engine that all tests share."""
    with required_engine() as address:
        yield address


@contextmanager
def required_engine(*, init: bool = True) -> Iterator[str]:
    """Run an engine, as `docker_engine` does. The test is skipped if the machine cannot run one."""
    engine = docker_engine(init=init)
    try:
        address = engine.__enter__()
    except EngineMissing as error:
        lacking("docker", str(error))
    try:
        yield address
    finally:
        engine.__exit__(None, None, None)


@contextmanager
def docker_engine(*, init: bool = True) -> Iterator[str]:
    """Run an engine, and give its address. Without `init`, it finds no init process. Raises EngineMissing."""
    program, busybox = shutil.which("dockerd"), shutil.which("busybox")
    if program is None or busybox is None:
        raise EngineMissing("Containers need the programs dockerd and busybox (Debian: docker.io, busybox-static).")
    if os.geteuid() != 0:
        raise EngineMissing("Only root can start a Docker Engine.")
    # An engine stores every change of a container durably, which takes half of the time of a test on a disk.
    with memory_folder() as folder:
        path = os.environ["PATH"] if init else str(_path_without_init(folder / "bin"))
        yield from _run(program, Path(busybox), folder, path)


def _path_without_init(folder: Path) -> Path:
    """A folder with all programs of the machine's PATH except docker-init."""
    folder.mkdir()
    for directory in os.environ["PATH"].split(os.pathsep):
        for program in Path(directory).glob("*"):
            link = folder / program.name
            if program.name != "docker-init" and not link.is_symlink():
                link.symlink_to(program)
    return folder


def _run(program: str, busybox: Path, folder: Path, path: str) -> Iterator[str]:
    address = f"unix://{folder}/docker.sock"
    options = {
        "storage-driver": "overlay2",
        "bridge": "none",
        "iptables": "false",
        "ip6tables": "false",
        "data-root": folder / "data",
        "exec-root": folder / "exec",
        "host": address,
        "pidfile": folder / "pid",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, *(f"--{name}={value}" for name, value in options.items())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PATH": path},
        )
    try:
        _wait(process, address, folder / "log")
        client = docker.APIClient(base_url=address)
        try:
            client.import_image_from_data(_busybox_tree(busybox), *IMAGE.split(":"), changes=["ENV PATH=/bin"])
        finally:
            client.close()
        yield address
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)
        # Of containers that had the network of the machine a mount is left.
        subprocess.run(["umount", "--lazy", str(folder / "exec/netns/default")], check=False, capture_output=True)


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            client = docker.APIClient(base_url=address, version="auto")
        except docker.errors.DockerException:
            if process.poll() is not None or time.monotonic() > end:
                lines = log.read_text(errors="replace").splitlines()
                raise EngineMissing(f"The Docker Engine did not start: {' '.join(lines[-3:])}") from None
            time.sleep(0.05)
        else:
            client.close()
            return


def _busybox_tree(program: Path) -> bytes:
    """A file system with the programs of busybox, as a tar."""
    names = subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tree:
        for folder in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            tree.addfile(member)
        tree.add(program, "bin/busybox")
        for name in names:
            if name != "busybox":
                member = tarfile.TarInfo(f"bin/{name}")
                member.type, member.linkname = tarfile.SYMTYPE, "busybox"
                tree.addfile(member)
    return buffer.getvalue()
