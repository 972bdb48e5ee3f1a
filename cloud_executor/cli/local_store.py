"""Settings of the server's store on this machine, for the operator's commands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cloud_executor.settings import Settings


def local_settings(data: Path | None) -> Settings:
    """The settings of the environment, with this data folder. A wrong folder is an error: it would get a new store."""
    from cloud_executor.settings import Settings

    chosen = {} if data is None else {"EXECUTOR_DATA": str(data.absolute())}
    settings = Settings.from_env({**os.environ, **chosen})
    if settings.jobs == "sqlite" and not settings.data.is_dir():
        raise click.UsageError(f"{settings.data} does not exist: give the server's data folder with --data.")
    return settings
