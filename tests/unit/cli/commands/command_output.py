"""What the commands print, and a terminal that they print to."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

Lines = Callable[[], list[str]]
"""Function that returns the lines on standard output since the last call."""


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The last line on standard error."""
    return capsys.readouterr().err.splitlines()[-1]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True
