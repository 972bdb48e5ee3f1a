"""`executor up` and `executor run` as processes, started the way a user starts them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pytest

from cloud_executor import Client

PROJECT = Path(__file__).parents[2]
WAIT_SECONDS = 30.0
COMMAND = [sys.executable, "-m", "cloud_executor.cli.main"]

ALL = [{"name": "all", "resultPatterns": []}]

EMBEDDED = pytest.mark.parametrize("backends", ["embedded"], indirect=True)
"""For tests of what does not depend on the backends of the stack, such as most of the client."""


def environment(**settings: str) -> dict[str, str]:
    """The environment of this process, with these settings and no other EXECUTOR_* settings."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("EXECUTOR_")}
    # With PYTHONPATH, the tests also run if the package is not installed.
    return {**found, "PYTHONPATH": str(PROJECT), **settings}


def until(condition: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """Wait until the condition returns a true value and return that value; fail after this many seconds."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"The condition was not true within {seconds:.0f} s."
        time.sleep(0.02)
    return found


def run(*arguments: str | Path, cwd: Path | None = None, **settings: str) -> subprocess.CompletedProcess[bytes]:
    """Run an `executor` command and wait for its end."""
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment(**settings), stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )


@contextmanager
def started(*command: str | Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command inside the block, and kill it at the end if the block has failed before it ended."""
    options = {"env": environment(), "stdin": subprocess.DEVNULL, **options}
    with subprocess.Popen([*map(str, command)], **options) as process:
        try:
            yield process
        finally:
            process.kill()


def line_that_starts(output: IO[bytes] | None, start: str) -> str:
    """Read the output of a process up to a line that starts like this; return that line."""
    assert output is not None
    lines = []
    for line in output:
        lines.append(line.decode())
        if lines[-1].startswith(start):
            return lines[-1]
    raise AssertionError(f"The output has no line that starts with {start!r}: {lines}")


def job_folder(folder: Path, script: str, artifacts: list[dict[str, Any]] | None = None, **fields: object) -> Path:
    """Write a job that runs a shell script into the folder, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"cmd": "sh", "args": ["-c", script], "resultArtifacts": ALL if artifacts is None else artifacts, **fields}
    (folder / "executor_config.json").write_text(json.dumps(config))
    return folder


def processes_of(data: Path) -> dict[int, str]:
    """Command lines, by process id, of all processes of the stack with this data, including its jobs."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                command, variables = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
                if str(data).encode() in command + b"\0" + variables:
                    found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


def signal_all(processes: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to those of these processes that have not ended."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)


@contextmanager
def asleep(data: Path) -> Iterator[None]:
    """Stop all processes of the stack with this data inside the block, including its jobs."""
    stopped: set[int] = set()
    try:
        # A process that is not stopped yet may start another one.
        while awake := processes_of(data).keys() - stopped:
            stopped |= awake
            signal_all(awake, signal.SIGSTOP)
        yield
    finally:
        signal_all(stopped, signal.SIGCONT)


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
        """`prefix` is a command that starts the `executor` command; `cwd` is its working directory."""
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
    def client(self) -> Client:
        return Client(self.url)

    def pid_of(self, module: str) -> int | None:
        """Lowest id of the stack's processes that run this module."""
        return min((pid for pid, command in processes_of(self.data).items() if module in command), default=None)

    def wait(self) -> int:
        """Wait for the end of the process and return its exit code."""
        return self.process.wait(WAIT_SECONDS)

    def stop(self) -> int:
        self.process.terminate()
        return self.wait()

    def close(self) -> None:
        """Stop the stack, with SIGKILL if it does not stop in time; then nothing of it is left."""
        try:
            self.stop()
        finally:
            self.process.kill()
            self.process.wait()
            signal_all(processes_of(self.data), signal.SIGKILL)
            if self.process.stdout is not None:
                self.process.stdout.close()


StartStack = Callable[..., StackProcess]
"""Function that starts a stack with the given options and, as keywords, settings."""
