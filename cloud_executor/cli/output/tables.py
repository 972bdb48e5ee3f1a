"""Tables: aligned and colored on a terminal, tab-separated elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

COLORS = {"SUCCESS": "green", "RUNNING": "cyan", "CANCELED": "bright_black"}
"""Colors of statuses; the others are failures. They can be read on light and on dark terminals."""

FAILURE_COLOR = "red"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """Print a table whose first line names the columns. On a terminal, print `empty` instead if no rows are given."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            click.echo("\t".join(" ".join(cell.split()) for cell in row))
    elif not rows:
        click.echo(empty)
    else:
        from rich.console import Console

        Console(highlight=False).print(table_of(columns, rows))


def table_of(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """The table for a terminal. A column `status` is colored, and the last column takes the rest of the width."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        last = index == len(columns) - 1
        table.add_column(column, no_wrap=not last, overflow="ellipsis" if not last else "fold")
    for row in rows:
        cells = [
            Text(cell, style=status_color(cell) if column == "status" else "")
            for column, cell in zip(columns, row, strict=True)
        ]
        table.add_row(*cells)
    return table


def colored(text: str, color: str) -> str:
    """The text in this color if standard output is a terminal and the user wants colors."""
    wanted = color and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return click.style(text, fg=color) if wanted else text


def status_color(status: str) -> str:
    return "" if status == "CREATED" else COLORS.get(status, FAILURE_COLOR)
