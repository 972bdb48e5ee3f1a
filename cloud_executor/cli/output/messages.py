"""Messages of the command on standard error."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import click

from cloud_executor.errors import CloudExecutorError


def sentence(error: CloudExecutorError | OSError) -> str:
    """Return the reason for a failure as one sentence."""
    if isinstance(error, CloudExecutorError):
        return str(error)
    return f"{error.filename or 'A file'} cannot be used: {(error.strerror or str(error)).lower()}."


def discard_output() -> None:
    """Discard further output, because its reader, such as `head`, needs no more.

    Otherwise Python would write the rest of its buffer when it exits, and report an error.
    """
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(message: str) -> None:
    """Print the message. A closed terminal does not end the command, which may still have to cancel a job."""
    with suppress(OSError):
        click.echo(message, err=True)
