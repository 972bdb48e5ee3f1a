"""Fixtures for all tests. This file also makes the modules of its folder importable."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from memory_folders import memory_folder

ON_DISK = [Path(__file__).parent / folder for folder in ("e2e/faults", "terraform")]
"""Tests whose files are on a disk, as in real use, or are too large for memory."""

# The processes that tests start would compile the project each time.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Emulators live for minutes at most: optimizing their code takes more time than it saves.
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")

# Those processes inherit ignored signals, for example under nohup, and could then not be interrupted.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, [])

# The client's files, and those of the processes that tests start, are not the user's.
_own_folder = tempfile.mkdtemp(prefix="executor-tests-")
atexit.register(shutil.rmtree, _own_folder, ignore_errors=True)
os.environ.update(XDG_CONFIG_HOME=f"{_own_folder}/config", XDG_STATE_HOME=f"{_own_folder}/state")

# The time that an example takes depends on the load of the machine.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

pytest_plugins = ["distribution", "containers.docker_engine", "emulators.shared", "servers.function_process"]


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The temporary folder of a test."""
    if any(request.path.is_relative_to(folder) for folder in ON_DISK):
        yield tmp_path
    else:
        with memory_folder() as folder:
            yield folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("Only one who may mount can see what happens on a full disk.")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
