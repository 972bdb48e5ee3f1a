"""`executor up --auth token` and `executor token`, as a user runs them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from stack_process import StackProcess, StartStack, job_folder, run

from cloud_executor import Client
from cloud_executor.errors import Forbidden


def rest_of_output(stack: StackProcess) -> str:
    """What the stack prints after its first line. This stops it."""
    stack.stop()
    assert stack.process.stdout is not None
    return stack.process.stdout.read()


def test_the_first_start_prints_a_token_that_makes_others(start_stack: StartStack, tmp_path: Path) -> None:
    stack = start_stack("--slots", "1", "--host", "0.0.0.0", "--auth", "token")
    assert stack.process.stdout is not None
    first = re.search(r"http://\S+/#token=(cex_\w+) ", stack.process.stdout.readline())
    assert first is not None
    folder = job_folder(tmp_path / "job", "echo hello")
    assert b"needs a credential" in run("run", folder, "--url", stack.url).stderr
    as_admin = {"EXECUTOR_URL": stack.url, "EXECUTOR_TOKEN": first[1]}
    made = run("token", "create", "ada", "--expires", "90d", **as_admin)
    token = made.stdout.decode().strip()
    with Client(stack.url, token=token) as client:
        assert len(client.workers()) == 1
        job = client.create_job(client.upload_folder(folder))
        assert client.wait(job.hash).status == "SUCCESS"
    for command in (("token", "list"), ("quota", "ada", "--jobs-stored", "9")):
        refused = run(*command, EXECUTOR_URL=stack.url, EXECUTOR_TOKEN=token)
        assert (refused.returncode, b"needs the role admin" in refused.stderr) == (2, True)
    listed = run("token", "list", **as_admin).stdout.decode().splitlines()
    assert [line.split()[1:3] for line in listed] == [["admin", "admin"], ["user", "ada"]]
    (ada,) = (line.split()[0] for line in listed if "ada" in line)
    assert [run("token", "revoke", ada, **as_admin).returncode for _ in range(2)] == [0, 2]
    limits = run("quota", "ada", "--jobs-waiting", "5", "--bytes-per-day", "2K", **as_admin).stdout.decode()
    assert re.search(r"^jobs-waiting +0  limit 5, set for this user$", limits, re.MULTILINE)
    assert re.search(r"^bytes-per-day +\d+  limit 2048, set for this user$", limits, re.MULTILINE)
    assert run("quota", "ada", **as_admin).stdout.decode() == limits
    options = ("--jobs-waiting", "default", "--bytes-per-day", "none", "--data", stack.data)
    limits = run("quota", "ada", *options).stdout.decode()
    assert re.search(r"^jobs-waiting +0  no limit$", limits, re.MULTILINE)
    assert re.search(r"^bytes-per-day +\d+  no limit, set for this user$", limits, re.MULTILINE)
    assert b"a limit must be a number" in run("quota", "ada", "--jobs-stored", "few", **as_admin).stderr
    local = run("token", "create", "eve", "--role", "worker", "--data", stack.data).stdout.decode().strip()
    with Client(stack.url, token=local) as client, pytest.raises(Forbidden, match="needs the role user"):
        client.workers()
    printed = rest_of_output(stack)
    again = start_stack("--slots", "0", "--auth", "token")
    printed += again.ready_line + rest_of_output(again)
    for text in (printed, again.errors.read_text()):
        assert "cex_" not in text
