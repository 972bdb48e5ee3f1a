"""Options of an administrator's commands: they use the server over the network, or its store on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import click

from cloud_executor.client.account.profiles import choose_server
from cloud_executor.client.transport import Transport

Command = TypeVar("Command", bound=Callable[..., object])

_SERVER_OPTIONS = (
    click.option(
        "--data",
        metavar="FOLDER",
        type=click.Path(file_okay=False, path_type=Path),
        help="The stack's data folder; implies --local.",
    ),
    click.option("--local", is_flag=True, help="Work on the server's own store, as its operator, without a token."),
    click.option("--profile", metavar="NAME", help="Profile from `executor login`.  [env var: EXECUTOR_PROFILE]"),
    click.option(
        "--url",
        metavar="URL",
        help="Address of the server.  [env var: EXECUTOR_URL; default: the profile's, or http://127.0.0.1:8888]",
    ),
)


def server_options(command: Command) -> Command:
    """Options that choose the server: over the network, or its store on this machine."""
    for option in _SERVER_OPTIONS:
        command = option(command)
    return command


@contextmanager
def open_server(url: str | None, profile: str | None) -> Iterator[Transport]:
    """Connect to the chosen server for the block."""
    # The variable for the token also applies to a server that an option names.
    token = None if url is None else os.environ.get("EXECUTOR_TOKEN") or None
    chosen = choose_server(url, None, token, profile)
    server = Transport(chosen.url, chosen.nonce, chosen.token, google_identity=chosen.google_identity)
    try:
        yield server
    finally:
        server.close()
