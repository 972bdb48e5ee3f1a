"""An emulator for a session of tests, or what is done without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

from requirement import lacking

from local_stack.emulators import EmulatorMissing


def started(emulator: AbstractContextManager[str]) -> Iterator[str]:
    """Yields its address. A missing emulator is a skip or, where it must be there, a failure; a broken one an error."""
    try:
        address = emulator.__enter__()
    except EmulatorMissing as error:
        lacking("emulators", str(error))
    try:
        yield address
    finally:
        emulator.__exit__(None, None, None)
