"""Test the wheel in an empty virtual environment: first the client alone, then with the server's packages."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from requirement import lacking
from servers.function_process import UNREACHABLE
from stack_process import PROJECT, StartStack, environment, job_folder, line_that_starts, started

PACKAGES = ("cloud_executor", "functions", "local_stack", "worker_vm")
NOT_SHIPPED = {
    "functions/Dockerfile",
    "worker_vm/Dockerfile",
    "worker_vm/cloud-init.yaml",
    "worker_vm/requirements.txt",
}
UV = [sys.executable, "-m", "uv", "--quiet"]
"""uv instead of pip: it keeps what it has downloaded, and installs without compiling."""

SECONDS = 300.0
"""Timeout of one command."""

pytestmark = pytest.mark.timeout(900)


def command(*arguments: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, arguments)],
        cwd=cwd,
        env=clean_environment(**variables),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def clean_environment(**variables: str) -> dict[str, str]:
    """The environment without this project on the path, and with its pinned versions for uv."""
    found = environment(UV_CONSTRAINT=str(PROJECT / "requirements.txt"), **variables)
    del found["PYTHONPATH"]
    return found


def files_below(folder: Path) -> set[str]:
    paths = (path for top in PACKAGES for path in (folder / top).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)) for path in paths if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # setuptools would add files that an earlier build left in the project's folder.
    source = folder / "source"
    for package in PACKAGES:
        shutil.copytree(PROJECT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(PROJECT / name, source)
    built = command(*UV, "build", "--wheel", "--out-dir", folder / "built", source, cwd=folder)
    if built.returncode != 0 and UNREACHABLE.search(built.stderr):
        lacking("package-index", "The tests of the wheel install packages, and uv cannot reach a package index.")
    assert built.returncode == 0, built.stderr
    (path,) = (folder / "built").glob("*.whl")
    return path


def test_the_wheel_contains_every_file_of_the_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == files_below(PROJECT) - NOT_SHIPPED


def test_the_client_and_then_the_server_work_in_an_empty_environment(
    wheel: Path, start_stack: StartStack, tmp_path: Path
) -> None:
    created = command(*UV, "venv", "--python", sys.executable, tmp_path / "venv", cwd=tmp_path)
    assert created.returncode == 0, created.stderr
    python, executor = tmp_path / "venv" / "bin" / "python", tmp_path / "venv" / "bin" / "executor"
    installed = command(*UV, "pip", "install", "--python", python, wheel, cwd=tmp_path)
    assert installed.returncode == 0, installed.stderr

    assert command(executor, "--help", cwd=tmp_path).returncode == 0
    imports = "from cloud_executor import Client, NotFound; Client('http://127.0.0.1:1')"
    assert command(python, "-c", imports, cwd=tmp_path).returncode == 0
    folder = job_folder(tmp_path / "job", "echo from the wheel")
    ran = command(executor, "run", folder, cwd=tmp_path, EXECUTOR_URL=start_stack("--slots", "1").url)
    assert (ran.returncode, ran.stdout) == (0, "from the wheel\n"), ran.stderr

    rejected = command(executor, "up", cwd=tmp_path)
    assert (rejected.returncode, rejected.stdout) == (2, "")
    install = shlex.split(rejected.stderr.rpartition(" Run: ")[2])
    assert install == [str(python), "-m", "pip", "install", "cloud-executor[server]"]
    installed = command(*UV, "pip", "install", "--python", python, install[-1], cwd=tmp_path)
    assert installed.returncode == 0, installed.stderr

    up = [executor, "up", "--port", "0", "--data", tmp_path / "wheel-data", "--slots", "1"]
    with started(*up, cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE) as stack:
        address = re.search(r"http://\S+", line_that_starts(stack.stdout, "Cloud Executor is ready"))
        assert address is not None
        ran = command(executor, "run", folder, "--url", address[0], cwd=tmp_path)
        assert (ran.returncode, ran.stdout) == (0, "from the wheel\n"), ran.stderr
        stack.terminate()
        assert stack.wait(SECONDS) == 0
