"""Fixtures for all tests; that this file is here also makes the modules of its folder importable."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

pytest_plugins = [
    "docker_engine",
    "emulators.gcs",
    "emulators.firestore",
    "emulators.pubsub",
    "emulators.s3",
    "function_process",
]


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
