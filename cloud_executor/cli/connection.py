"""The options that name the server, and the client that they give."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

import click

from cloud_executor.cli.output.progress_bars import ProgressBars
from cloud_executor.client.client import Client

Parameters = ParamSpec("Parameters")


def connected(function: Callable[Concatenate[Client, Parameters], int | None]) -> Callable[..., int | None]:
    """Add the server's options to a command, and call it with a client."""

    @click.option(
        "--url",
        metavar="URL",
        help="Address of the server.  [env var: EXECUTOR_URL; default: the profile's, or http://127.0.0.1:8888]",
    )
    @click.option(
        "--nonce", metavar="SECRET", help="The server's shared secret, if it has one.  [env var: EXECUTOR_NONCE]"
    )
    @click.option(
        "--google-identity",
        is_flag=True,
        envvar="EXECUTOR_GOOGLE_IDENTITY",
        show_envvar=True,
        help="Send the identity of your Google credentials, which a private Cloud Run service requires.",
    )
    @click.option("--profile", metavar="NAME", help="Profile from `executor login`.  [env var: EXECUTOR_PROFILE]")
    @wraps(function)
    def command(
        url: str | None,
        nonce: str | None,
        google_identity: bool,
        profile: str | None,
        **options: Any,  # noqa: ANN401 - those of the command
    ) -> int | None:
        with open_client(url, nonce, profile, google_identity=google_identity) as client:
            return function(client, **options)  # type: ignore[call-arg]

    return command


def open_client(url: str | None, nonce: str | None, profile: str | None, *, google_identity: bool) -> Client:
    """Open the client for the options. The variables for credentials also apply to a server that an option names."""
    token = None
    if url is not None:
        nonce = nonce or os.environ.get("EXECUTOR_NONCE") or None
        token = os.environ.get("EXECUTOR_TOKEN") or None
    on_progress = ProgressBars() if sys.stderr.isatty() else None
    return Client(url, nonce, token, profile=profile, google_identity=google_identity, on_progress=on_progress)
