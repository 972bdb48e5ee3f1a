"""`executor token`: create, list, and revoke access tokens."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from cloud_executor.cli.local_store import local_settings
from cloud_executor.cli.server_options import open_server, server_options
from cloud_executor.client.transport import json_of

if TYPE_CHECKING:
    from cloud_executor.access.tokens import Tokens

ROLES = ("user", "worker", "admin")

_LIFETIME = re.compile(r"([1-9][0-9]{0,5})([dhm])", re.ASCII)
_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}


class _Lifetime(click.ParamType[timedelta]):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> timedelta:  # noqa: ANN401 - click's interface
        found = _LIFETIME.fullmatch(str(value))
        if found is None:
            self.fail("a time must be a number of days, hours, or minutes, such as 90d, 12h, or 30m.", param, context)
        return int(found[1]) * _UNITS[found[2]]


@click.group(short_help="Manage a server's access tokens.")
def token() -> None:
    """Manage the access tokens of a server that runs with EXECUTOR_AUTH=token.

    The commands need an administrator's token, from EXECUTOR_TOKEN or `executor login`, or --local on the server's
    machine.
    """


@token.command()
@click.argument("name")
@click.option("--user", metavar="USER", help="User that the token identifies.  [default: NAME]")
@click.option("--role", type=click.Choice(ROLES), default="user", show_default=True, help="What the token allows.")
@click.option("--expires", metavar="TIME", type=_Lifetime(), help="Time until it expires, such as 90d, 12h, or 30m.")
@server_options
def create(
    name: str,
    user: str | None,
    role: str,
    expires: timedelta | None,
    url: str | None,
    profile: str | None,
    local: bool,
    data: Path | None,
) -> int:
    """Create a token and print it. It is not shown again."""
    if local or data is not None:
        from cloud_executor.model.access.caller import OPERATOR, Role

        text, _ = _open_tokens(data).create(name, user or name, Role(role), expires, OPERATOR)
    else:
        wanted = {"name": name, "user": user, "role": role, "expiresIn": _seconds(expires)}
        with open_server(url, profile) as server:
            # Not repeatable: a repeated request would leave a token that nobody has.
            text = json_of(server.post_json("/rest/tokens", wanted, repeatable=False))["token"]
    click.echo(text)
    return 0


@token.command("list")
@server_options
def list_tokens(url: str | None, profile: str | None, local: bool, data: Path | None) -> int:
    """List all tokens: id, role, user, expiry, and name."""
    if local or data is not None:
        for record in _open_tokens(data).all():
            expiry = None if record.expires is None else record.expires.isoformat()
            _print_row(record.id, record.role, record.user, expiry, record.name)
        return 0
    with open_server(url, profile) as server:
        for found in json_of(server.request("GET", "/rest/tokens"))["tokens"]:
            _print_row(*(found[field] for field in ("id", "role", "user", "expires", "name")))
    return 0


@token.command()
@click.argument("token_id", metavar="ID")
@server_options
def revoke(token_id: str, url: str | None, profile: str | None, local: bool, data: Path | None) -> int:
    """Revoke the token with this ID, which `executor token list` shows. It stops working within a minute."""
    if local or data is not None:
        from cloud_executor.model.access.caller import OPERATOR

        _open_tokens(data).revoke(token_id, OPERATOR)
        return 0
    with open_server(url, profile) as server:
        server.request("DELETE", f"/rest/tokens/{quote(token_id, safe='')}", repeatable=False)
    return 0


def _print_row(token_id: str, role: str, user: str, expires: str | None, name: str) -> None:
    until = "never expires" if expires is None else f"expires {expires[:16].replace('T', ' ')}"
    click.echo(f"{token_id}  {role:6}  {user:20}  {until:24}  {name}")


def _seconds(time: timedelta | None) -> int | None:
    return None if time is None else time // timedelta(seconds=1)


def _open_tokens(data: Path | None) -> Tokens:
    from cloud_executor.composition import open_tokens

    return open_tokens(local_settings(data))
