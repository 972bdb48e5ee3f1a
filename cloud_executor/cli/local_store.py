"""Settings of the server's store on this machine, for the operator's commands."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cloud_executor.installation import install_command

if TYPE_CHECKING:
    from cloud_executor.settings import Settings


def local_settings(data: Path | None) -> Settings:
    """The settings of the environment, with this data folder. A wrong folder is an error: it would get a new store."""
    if importlib.util.find_spec("flask") is None:
        raise click.UsageError(f"--local needs the server's packages. Run: {install_command('server')}")
    from cloud_executor.settings import Settings

    chosen = {} if data is None else {"EXECUTOR_DATA": str(data.absolute())}
    settings = Settings.from_env({**os.environ, **chosen})
    if settings.jobs == "sqlite" and not settings.data.is_dir():
        raise click.UsageError(f"{settings.data} does not exist: give the server's data folder with --data.")
    return settings
