"""`executor quota`: show and change the limits of a user."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from cloud_executor.cli.local_store import local_settings
from cloud_executor.cli.server_options import open_server, server_options
from cloud_executor.client.transport import json_of

LIMITS = {
    "bytes_per_day": ("bytesPerDay", "Bytes that the user may upload per day."),
    "bytes_stored": ("bytesStored", "Size of all files that the user may have stored."),
    "jobs_stored": ("jobsStored", "Number of jobs, including finished ones."),
    "jobs_waiting": ("jobsWaiting", "Number of waiting jobs."),
    "jobs_running": ("jobsRunning", "Number of running jobs; further jobs wait."),
    "requests_per_minute": ("requestsPerMinute", "Number of requests per minute to one process of the server."),
}
"""Name in the API, and meaning, of each option."""

_NUMBER = re.compile(r"([0-9]{1,15})([KMGT]?)", re.ASCII)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class _Limit(click.ParamType[object]):
    name = "limit"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> object:  # noqa: ANN401 - click's interface
        if value in ("none", "default"):
            return value
        found = _NUMBER.fullmatch(str(value))
        if found is None:
            self.fail("a limit must be a number such as 500 or 20G, none, or default.", param, context)
        return int(found[1]) * _UNITS[found[2]]


def _limit_options(command: Callable[..., int]) -> Callable[..., int]:
    for name, (_, meaning) in reversed(LIMITS.items()):
        command = click.option(f"--{name.replace('_', '-')}", name, metavar="LIMIT", type=_Limit(), help=meaning)(
            command
        )
    return command


@click.command(short_help="Show or change the limits of a user.")
@click.argument("user")
@_limit_options
@server_options
def quota(user: str, url: str | None, profile: str | None, local: bool, data: Path | None, **given: object) -> int:
    """Show the limits of USER and what the user has used, after changing the given limits.

    LIMIT is a number, which may end in K, M, G, or T for powers of 1024; none for no limit; or default for the
    operator's default. A change takes effect within a minute. It needs an administrator's token, from EXECUTOR_TOKEN or
    `executor login`, or --local on the server's machine.
    """
    changes = {
        LIMITS[name][0]: None if value == "none" else value for name, value in given.items() if value is not None
    }
    if local or data is not None:
        _print(_change_locally(user, changes, data))
        return 0
    path = f"/rest/quotas/{quote(user, safe='')}"
    with open_server(url, profile) as server:
        _print(json_of(server.post_json(path, changes) if changes else server.request("GET", path)))
    return 0


def _change_locally(user: str, changes: Mapping[str, object], data: Path | None) -> Mapping[str, Any]:
    settings = local_settings(data)
    from cloud_executor.composition import open_jobs, open_quotas
    from cloud_executor.model.access.caller import OPERATOR

    quotas = open_quotas(settings)
    if changes:
        quotas.change(user, changes, OPERATOR)
    return quotas.document(user, open_jobs(settings).store)


def _print(document: Mapping[str, Any]) -> None:
    for option, (name, _) in LIMITS.items():
        used, limit = document["used"].get(name), document["limits"].get(name)
        shown = "no limit" if limit is None else f"limit {limit}"
        source = ", set for this user" if name in document["changed"] else ""
        click.echo(f"{option.replace('_', '-'):20} {'' if used is None else used!s:>15}  {shown}{source}")
