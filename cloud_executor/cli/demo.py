"""The walkthrough: one job through the five steps, with what is sent and what comes back.

It starts a local stack of its own, on a free port and in a temporary folder, and stops it at the end.
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
"""how long the job may take"""

STOP_SECONDS = 20.0

_URL = re.compile(r"http://\S+")


class DemoFailed(Exception):
    """The walkthrough did not go as it should."""


@click.command()
@click.option("--emulators", is_flag=True, help="Run it on emulators of Google Cloud's services.")
def main(emulators: bool) -> None:
    """Exit with 0, or with 1 and a sentence."""
    options = ["--emulators"] if emulators else []
    try:
        _title("Cloud Executor: a job, step by step")
        _say(f"Starting the local stack: {' '.join(['executor up', *options])}")
        with _local_stack(options) as url, httpx.Client(base_url=url, timeout=RUN_SECONDS, trust_env=False) as server:
            _say(f"It is ready at {url}.")
            _walk(server, url)
        _title("Done. The stack is stopped, and nothing is left.")
        _say("Start one that stays with `make up`; then `executor run FOLDER` does all of this for a folder of yours.")
    except (DemoFailed, httpx.HTTPError, OSError) as error:
        click.echo(f"Error: the demo failed: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _walk(server: httpx.Client, url: str) -> None:
    _title("1. Create the job definition")
    definition = _job_definition()
    _say("executor_config.json says what to run, and which files to keep: no pattern means all.")
    _show(CONFIG)
    _say(f"It goes into jobdefinition.zip, {len(definition)} bytes, together with whatever else the command needs.")

    _title("2. Upload it to the blob store")
    upload = f"{url}/rest/blob/createFile/jobdefinition.zip"
    _command(f"curl -X POST --data-binary '@jobdefinition.zip' '{upload}'")
    # As curl sends it.
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = _json(server.post(upload, content=definition, headers=headers))
    job_hash, metadata = next(iter(answer.items()))
    _show(_abridged({job_hash: _chosen(metadata, "name", "size", "mime", "content")}))
    _say(f"The first key is the job id: {job_hash}")

    _title("3. Create the job")
    _command(f"curl -X POST '{url}/rest/executor/create/{job_hash}'")
    job = _json(server.post(f"/rest/executor/create/{job_hash}"))
    _show(_abridged(_chosen(job, "hash", "status", "createTime", "secret")))
    _say("With the secret it could be canceled; no other answer has it.")

    _title("4. Poll")
    _command(f"curl '{url}/rest/executor/info/{job_hash}'")
    job = _finished(server, job_hash)
    _show(_abridged(_chosen(job, "status", "startTime", "finishTime", "worker", "resultHashes")))
    if job["status"] != "SUCCESS":
        raise DemoFailed(f"the job ended as {job['status']}. {job.get('error', '')}")
    result_hash = job["resultHashes"]["all"]
    _say(f"The results are a blob: {result_hash}")

    _title("5. Retrieve the results")
    _say("All of them, as a zip:")
    _command(f"curl '{url}/rest/blob/download/{result_hash}' > results.zip")
    with zipfile.ZipFile(io.BytesIO(_checked(server.get(f"/rest/blob/download/{result_hash}")).content)) as results:
        _show("\n".join(f"{member.file_size:>6} {member.filename}" for member in results.infolist()))
    _say("Or a single file, here what the command wrote:")
    _command(f"curl '{url}/rest/blob/download/{result_hash}/job_stdout.txt'")
    text = _checked(server.get(f"/rest/blob/download/{result_hash}/job_stdout.txt")).text
    _show(text)
    if text.strip() != json.loads(CONFIG)["args"][0]:
        raise DemoFailed("the job wrote something else than it should.")


@contextmanager
def _local_stack(options: Sequence[str]) -> Iterator[str]:
    """Where it is, while this lasts."""
    # Settings of another stack do not concern this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EXECUTOR_")}
    with tempfile.TemporaryDirectory(prefix="cloud-executor-demo-") as data:
        command = [sys.executable, "-m", "cloud_executor.cli.main", "up", "--port", "0", "--data", data, *options]
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        ) as stack:
            try:
                found = _URL.search(stack.stdout.readline()) if stack.stdout is not None else None
                if found is None:
                    raise DemoFailed("the local stack did not start; what it wrote stands above.")
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
        # With its fixed date the job has the same id each time.
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
    raise DemoFailed("the job does not end.")


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_error:
        raise DemoFailed(f"the server answered {response.status_code}: {response.text[:200]}")
    return response


def _json(response: httpx.Response) -> dict[str, Any]:
    document: dict[str, Any] = _checked(response).json()
    return document


def _chosen(document: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: document[name] for name in names if name in document} | {"…": "…"}


def _abridged(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=4, ensure_ascii=False).replace('"…": "…"', "…")


def _title(text: str) -> None:
    _echo("\n" + click.style(text, bold=True))


def _say(text: str) -> None:
    _echo(text)


def _command(text: str) -> None:
    _echo(click.style(f"$ {text}", fg="green"))


def _show(text: str) -> None:
    lines = text.strip("\n").splitlines()
    _echo(click.style("\n".join(f"    {line}" for line in lines), fg="cyan"))


def _echo(text: str) -> None:
    # click takes colours away by itself where there is no terminal.
    click.echo(text, color=False if os.environ.get("NO_COLOR") else None)


if __name__ == "__main__":
    main()
