"""The demo: one job through the five steps, with each request and its response.

It starts its own local stack on a free port and in a temporary folder, and stops the stack at the end.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click
import httpx

from cloud_executor.process.stop_signals import reset_signals

CONFIG = """\
{
    "cmd": "echo",
    "args": ["some sample text to be written to job_stdout.txt"],
    "resultArtifacts": [
        {
            "name": "all",
            "resultPatterns": []
        }
    ]
}
"""

POLL_SECONDS = 0.02
RUN_SECONDS = 30.0
"""Longest time, in seconds, that the job may take."""

STOP_SECONDS = 20.0

_URL = re.compile(r"http://\S+")


class DemoFailed(Exception):
    """The demo did not go as expected."""


@click.command(short_help="Run one job on a temporary local stack.")
@click.option("--emulators", is_flag=True, help="Use emulators of Google Cloud's services.")
def main(emulators: bool) -> None:
    """Run one job on a temporary local stack, and show each request and response."""
    reset_signals()
    options = ["--emulators"] if emulators else []
    try:
        _title("Cloud Executor: a job, step by step")
        _say(f"Starting the local stack: {' '.join(['executor up', *options])}")
        with _local_stack(options) as url, httpx.Client(base_url=url, timeout=RUN_SECONDS, trust_env=False) as server:
            _say(f"The stack is ready at {url}.")
            _walk(server, url)
        _title("Done. The stack was stopped and its data deleted.")
        _say("To keep a stack running, use `make up`. `.venv/bin/executor run FOLDER` runs your own jobs on it.")
    except (DemoFailed, httpx.HTTPError, OSError) as error:
        click.echo(f"Error: the demo failed: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _walk(server: httpx.Client, url: str) -> None:
    _title("1. Create the job definition")
    definition = _job_definition()
    _say("executor_config.json names the command to run and the result files to keep. No pattern keeps all files.")
    _show(CONFIG)
    _say(f"Pack it into jobdefinition.zip ({len(definition)} bytes), with any other files that the command needs.")

    _title("2. Upload it to the blob store")
    upload = f"{url}/rest/blob/createFile/jobdefinition.zip"
    _command(f"curl -X POST --data-binary '@jobdefinition.zip' '{upload}'")
    # curl sends this header.
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    response = _json(server.post(upload, content=definition, headers=headers))
    job_hash, metadata = next(iter(response.items()))
    _show(_abridged({job_hash: _chosen(metadata, "name", "size", "mime", "content")}))
    _say(f"The first key is the job's id: {job_hash}")

    _title("3. Create the job")
    _command(f"curl -X POST '{url}/rest/executor/create/{job_hash}'")
    job = _json(server.post(f"/rest/executor/create/{job_hash}"))
    _show(_abridged(_chosen(job, "hash", "status", "createTime", "secret")))
    _say("The secret can cancel the job. Only this response contains it.")

    _title("4. Poll")
    _command(f"curl '{url}/rest/executor/info/{job_hash}'")
    job = _finished(server, job_hash)
    _show(_abridged(_chosen(job, "status", "startTime", "finishTime", "worker", "resultHashes")))
    if job["status"] != "SUCCESS":
        raise DemoFailed(f"the job ended with status {job['status']}. {job.get('error', '')}")
    result_hash = job["resultHashes"]["all"]
    _say(f"The results are stored as the blob {result_hash}.")

    _title("5. Download the results")
    _say("Download all result files as a zip:")
    _command(f"curl '{url}/rest/blob/download/{result_hash}' > results.zip")
    with zipfile.ZipFile(io.BytesIO(_checked(server.get(f"/rest/blob/download/{result_hash}")).content)) as results:
        _show("\n".join(f"{member.file_size:>6} {member.filename}" for member in results.infolist()))
    _say("Or download a single file, here the command's standard output:")
    _command(f"curl '{url}/rest/blob/download/{result_hash}/job_stdout.txt'")
    output = _checked(server.get(f"/rest/blob/download/{result_hash}/job_stdout.txt")).text
    _show(output)
    if output.strip() != json.loads(CONFIG)["args"][0]:
        raise DemoFailed("the job's output is wrong.")


@contextmanager
def _local_stack(options: Sequence[str]) -> Iterator[str]:
    """Run a local stack inside the block, and yield its address."""
    # Settings for another stack must not apply to this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EXECUTOR_")}
    with tempfile.TemporaryDirectory(prefix="cloud-executor-demo-") as data:
        command = [sys.executable, "-m", "cloud_executor.cli.main", "up", "--port", "0", "--data", data, *options]
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        ) as stack:
            try:
                found = _URL.search(stack.stdout.readline()) if stack.stdout is not None else None
                if found is None:
                    raise DemoFailed("the local stack did not start; its messages are above.")
                yield found[0]
            finally:
                stack.terminate()
                try:
                    stack.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    stack.kill()


def _job_definition() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        # ZipInfo has a fixed date, so the job always has the same id.
        archive.writestr(zipfile.ZipInfo("executor_config.json"), CONFIG)
    return buffer.getvalue()


def _finished(server: httpx.Client, job_hash: str) -> dict[str, Any]:
    started = time.monotonic()
    seen = ""
    while time.monotonic() < started + RUN_SECONDS:
        job = _json(server.get(f"/rest/executor/info/{job_hash}"))
        if job["status"] != seen:
            seen = job["status"]
            _say(f"{(time.monotonic() - started) * 1000:>6.0f} ms  {seen}")
        if seen not in ("CREATED", "RUNNING"):
            return job
        time.sleep(POLL_SECONDS)
    raise DemoFailed(f"the job did not finish within {RUN_SECONDS:.0f} s.")


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_error:
        raise DemoFailed(f"the server responded with {response.status_code}: {response.text[:200]}")
    return response


def _json(response: httpx.Response) -> dict[str, Any]:
    document: dict[str, Any] = _checked(response).json()
    return document


def _chosen(document: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: document[name] for name in names if name in document} | {"…": "…"}


def _abridged(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=4, ensure_ascii=False).replace('"…": "…"', "…")


def _title(title: str) -> None:
    _say("\n" + click.style(title, bold=True))


def _command(command: str) -> None:
    _say(click.style(f"$ {command}", fg="green"))


def _show(content: str) -> None:
    lines = content.strip("\n").splitlines()
    _say(click.style("\n".join(f"    {line}" for line in lines), fg="cyan"))


def _say(message: str) -> None:
    # click itself removes colors if the output is not a terminal.
    click.echo(message, color=False if os.environ.get("NO_COLOR") else None)


if __name__ == "__main__":
    main()
