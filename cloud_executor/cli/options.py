"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

detach_option = click.option("--detach", is_flag=True, help="Print the job's hash, and do not wait for the job.")


def out_option(meaning: str = "Folder to store the result files in.") -> Callable[[Command], Command]:
    return click.option("--out", metavar="FOLDER", type=click.Path(file_okay=False, path_type=Path), help=meaning)
