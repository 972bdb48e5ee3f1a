"""`executor up` and `executor run` as processes, as a user starts them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cloud_executor.client import CloudExecutor

PROJECT = Path(__file__).parents[2]
WAIT_SECONDS = 30.0
COMMAND = [sys.executable, "-m", "cloud_executor.cli.main"]

ALL = [{"name": "all", "resultPatterns": []}]


def environment(**settings: str) -> dict[str, str]:
    """That of this process, with these settings and no others."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("EXECUTOR_")}
    # The package need not be installed.
    return {**found, "PYTHONPATH": str(PROJECT), **settings}


def until(condition: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """What the condition gives once that is true; fails if it does not become so."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


def run(*arguments: str | Path, cwd: Path | None = None, **settings: str) -> subprocess.CompletedProcess[bytes]:
    """Run an `executor` command to its end."""
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment(**settings), stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )


def job_folder(folder: Path, script: str, artifacts: list[dict[str, Any]] | None = None, **fields: object) -> Path:
    """A folder with a job that runs a shell script."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"cmd": "sh", "args": ["-c", script], "resultArtifacts": ALL if artifacts is None else artifacts, **fields}
    (folder / "executor_config.json").write_text(json.dumps(config))
    return folder


def processes_of(data: Path) -> dict[int, str]:
    """Every process that serves the stack with this data, its jobs among them: process id -> command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                command, variables = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
                if str(data).encode() in command + b"\0" + variables:
                    found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


class StackProcess:
    """`executor up`, on a free port."""

    def __init__(
        self,
        data: Path,
        *options: str,
        settings: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        cwd: Path | None = None,
    ) -> None:
        """`prefix`: a command that starts the command; `cwd`: where it is started."""
        self.data = data
        self.errors = data.with_name(f"{data.name}-stderr")
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [*prefix, *COMMAND, "up", "--port", "0", "--data", str(data), *options],
                env=environment(**(settings or {})),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
                cwd=cwd,
            )
        assert self.process.stdout is not None
        self.ready_line = self.process.stdout.readline()
        address = re.search(r"http://\S+", self.ready_line)
        assert address is not None, self.errors.read_text()
        self.url = address[0]

    @property
    def client(self) -> CloudExecutor:
        return CloudExecutor(self.url)

    def pid_of(self, module: str) -> int | None:
        """The first process of a program of the stack."""
        return min((pid for pid, command in processes_of(self.data).items() if module in command), default=None)

    def wait(self) -> int:
        """The exit code."""
        return self.process.wait(WAIT_SECONDS)

    def stop(self) -> int:
        self.process.terminate()
        return self.wait()

    def close(self) -> None:
        """End it somehow."""
        try:
            self.stop()
        finally:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()


StartStack = Callable[..., StackProcess]
"""starts one with options, and with settings by keyword"""
