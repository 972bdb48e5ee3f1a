"""No credential appears in an output, a log, a process list, or what a stack stores, whatever its users run."""

from __future__ import annotations

import io
import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from stack_process import StackProcess, StartStack, job_folder, run

from cloud_executor import Client
from cloud_executor.cli.main import COMMANDS, run_command
from cloud_executor.model.access.token import token_of

JOB = "cat executor_config.json; env; cat /proc/$PPID/environ /proc/self/environ; ps ax; touch result; true"
"""Looks for credentials where a job may look."""


def invocations(job: str, blob: str, folder: Path) -> dict[str, list[Sequence[str | Path]]]:
    """Arguments of each command. Those of jobs and blobs are right or wrong, so that errors are printed too."""
    ids = [(job,), ("0" * 40,)]
    return {
        **{name: list(ids) for name in ("status", "logs", "results", "cancel", "open", "cat", "ls", "rerun", "rm")},
        "run": [(folder / "job", "--rerun"), ("--json", "--", "true"), (folder / "absent",)],
        "get": [(job, "--out", folder / "results")],
        "list": [(), ("--json",), ("--limit", "x")],
        "workers": [(), ("--json",)],
        "stats": [(), ("--json",)],
        "put": [(folder / "job",), (folder / "absent",)],
        "cp": [(blob, folder / "copy"), ("0" * 40, folder / "copy")],
        "login": [],  # below, because it reads a token
        "logout": [()],
        "config": [()],
        "doctor": [(), ("--json",)],
        "completion": [("bash",)],
        "up": [],  # the stack itself
        "demo": [],  # a stack without credentials
        "token": [("list",), ("revoke", "absent"), ("create", "two words")],
        "quota": [("ada",), ("ada", "--jobs-waiting", "many")],
        "gc": [("--dry-run", "--older-than", "30d", "--data", folder / name) for name in ("data", "absent")],
        "force-cancel": [(job, "--data", folder / "data"), (job, "--data", folder / "absent")],
    }


@contextmanager
def command_lines() -> Iterator[set[bytes]]:
    """All command lines of this machine's processes that are seen inside the block."""
    seen: set[bytes] = set()
    stopped = threading.Event()

    def watch() -> None:
        while not stopped.wait(0.1):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    seen.add((process / "cmdline").read_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stopped.set()
        thread.join()


def files_below(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # SQLite deletes its log when the last connection closes
            if path.is_file():
                yield path, path.read_bytes()


def first_token(stack: StackProcess) -> str:
    assert stack.process.stdout is not None
    found = re.search(r"#token=(cex_\w+)", stack.process.stdout.readline())
    assert found is not None
    return found[1]


def test_no_command_shows_a_credential(
    start_stack: StartStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    nonce, worker_nonce, pepper = (secrets.token_hex(20) for _ in range(3))
    settings = {"EXECUTOR_NONCE": nonce, "EXECUTOR_WORKER_NONCE": worker_nonce, "EXECUTOR_TOKEN_PEPPER": pepper}
    with command_lines() as seen:
        stack = start_stack("--slots", "1", "--auth", "token", "--verbose", **settings)
        admin, unknown = first_token(stack), token_of(secrets.token_bytes(32))
        user = run("token", "create", "ada", EXECUTOR_URL=stack.url, EXECUTOR_TOKEN=admin).stdout.decode().strip()
        credentials = {"nonce": nonce, "worker nonce": worker_nonce, "pepper": pepper}
        credentials |= {"administrator": admin, "user": user, "unknown": unknown}
        folder = job_folder(tmp_path / "job", JOB)
        with Client(stack.url, token=user) as client:
            job = client.wait(client.create_job(client.upload_folder(folder)).hash)
        blob = job.result_hashes["all"]
        table = invocations(job.hash, blob, tmp_path)
        assert table.keys() == COMMANDS.keys()
        # In this process, because starting a program for each takes longer than all else.
        monkeypatch.setenv("EXECUTOR_URL", stack.url)
        for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
            monkeypatch.setenv(variable, str(tmp_path / "home" / variable))
        capfd.readouterr()
        for name, calls in table.items():
            for number, arguments in enumerate(calls):
                token = admin if name in ("token", "quota") else (user, unknown)[number % 2]
                monkeypatch.setenv("EXECUTOR_TOKEN", token)
                run_command([name, *map(str, arguments)])
        monkeypatch.delenv("EXECUTOR_TOKEN")
        monkeypatch.setenv("EXECUTOR_NONCE", nonce)
        run_command(["list"])
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(user.encode())))
        run_command(["login", stack.url, "--token-stdin"])
        run_command(["config"])
        printed = "".join(capfd.readouterr())
        stack.stop()
    assert stack.process.stdout is not None
    outputs = [printed, stack.process.stdout.read(), stack.errors.read_text()]
    assert '"message": "audit"' in outputs[-1]
    assert "needs the role" in printed or "unknown" in printed
    stored = dict(files_below(tmp_path))
    for name, credential in credentials.items():
        secret = credential.encode()
        assert not any(credential in output for output in outputs), f"an output shows the {name}"
        assert not any(secret in line for line in seen), f"a process list shows the {name}"
        found = [path for path, content in stored.items() if secret in content]
        assert found == ([tmp_path / "home/XDG_CONFIG_HOME/cloud-executor/config.json"] if name == "user" else [])
