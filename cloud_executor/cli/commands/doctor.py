"""`executor doctor`: check what commands need, and say what to do."""

from __future__ import annotations

import importlib.util
import json
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal

import click

from cloud_executor.cli.commands.server import SERVER_MODULES
from cloud_executor.cli.connection import connected
from cloud_executor.cli.options import json_option
from cloud_executor.cli.output.job_rows import format_bytes
from cloud_executor.cli.output.tables import colored
from cloud_executor.client.account.user_files import config_file
from cloud_executor.client.client import Client
from cloud_executor.errors import CloudExecutorError
from cloud_executor.installation import install_command
from cloud_executor.version import VERSION

LARGEST_CLOCK_SECONDS = 30.0
"""Largest difference between the clocks, in seconds, that is not worth a warning."""

LEAST_FREE_BYTES = 1024**3

Level = Literal["ok", "note", "warning", "error"]

COLORS: dict[Level, str] = {"ok": "green", "note": "blue", "warning": "magenta", "error": "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found."""

    check: str
    level: Level
    message: str


@click.command(short_help="Check what the commands need.")
@connected
@json_option
def doctor(client: Client, as_json: bool) -> int:
    """Check the connection, the credentials, the clock, the versions, the disk, and the optional programs.

    The exit code is 1 if something does not work.
    """
    findings = []
    for finding in _findings(client):
        findings.append(finding)
        if not as_json:
            level = colored(finding.level.ljust(7), COLORS[finding.level])
            click.echo(f"{level}  {finding.check}: {finding.message}")
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=4))
    return 1 if any(finding.level == "error" for finding in findings) else 0


def _findings(client: Client) -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("client", "ok", f"Cloud Executor {VERSION} on Python {python}.")
    yield from _server(client)
    for check in (_config, _disk, _packages, _programs):
        yield check()


def _server(client: Client) -> Iterator[Finding]:
    started = time.monotonic()
    try:
        workers = client.workers()
    except CloudExecutorError as error:
        yield Finding("server", "error", str(error))
        return
    seconds = time.monotonic() - started
    yield Finding("server", "ok", f"{client.url} accepts the credentials and responds in {seconds * 1000:.0f} ms.")
    if not workers:
        yield Finding("workers", "warning", "The server has no worker, so jobs wait: start one with `executor up`.")
    else:
        yield Finding("workers", "ok", f"{len(workers)} in the list.")
    server = client.server_info()
    if server.version is None:
        yield Finding("version", "note", "The server does not state its version; it may be WebGME's own.")
    elif server.version != VERSION:
        yield Finding("version", "note", f"The server has {server.version}; update the older of the two.")
    else:
        yield Finding("version", "ok", f"The server has {server.version} too.")
    yield _clock(server.date)


def _clock(date: str | None) -> Finding:
    try:
        theirs = parsedate_to_datetime(date or "")
    except ValueError:
        return Finding("clock", "note", "The server does not state its time.")
    difference = (datetime.now(UTC) - theirs).total_seconds()
    if abs(difference) > LARGEST_CLOCK_SECONDS:
        side = "ahead of" if difference > 0 else "behind"
        message = f"This clock is {abs(difference):.0f} s {side} the server's: synchronize both, for example with NTP."
        return Finding("clock", "warning", message)
    return Finding("clock", "ok", "It agrees with the server's.")


def _config() -> Finding:
    path = config_file()
    if not path.exists():
        return Finding("profile", "note", "Not set: `executor login` stores a server's address and credentials.")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return Finding("profile", "warning", f"Other users can read {path}: run `chmod 600 {path}`.")
    return Finding("profile", "ok", f"{path} is private.")


def _disk() -> Finding:
    free = shutil.disk_usage(Path()).free
    if free < LEAST_FREE_BYTES:
        return Finding("disk", "warning", f"Only {format_bytes(free)} are free in this folder: delete some files.")
    return Finding("disk", "ok", f"{format_bytes(free)} are free in this folder.")


def _packages() -> Finding:
    missing = [module for module in SERVER_MODULES if importlib.util.find_spec(module) is None]
    if missing:
        message = (
            f"The server's packages are not installed, so `executor up` does not work. Run: {install_command('server')}"
        )
        return Finding("server packages", "note", message)
    return Finding("server packages", "ok", "`executor up` can start.")


def _programs() -> Finding:
    missing = [program for program in ("gcloud", "java") if shutil.which(program) is None]
    if missing:
        message = f"{' and '.join(missing)} not found, which only `executor up --emulators` needs."
        return Finding("emulators", "note", message)
    return Finding("emulators", "ok", "The programs for `executor up --emulators` are installed.")
