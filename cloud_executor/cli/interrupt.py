"""Signals that stop `executor run`: Ctrl-C, SIGTERM, and SIGHUP."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from types import FrameType

from cloud_executor.cli.output.messages import say

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal stops the command."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


class Choice(Enum):
    """What happens to the job after Ctrl-C."""

    CANCEL = auto()
    DETACH = auto()
    CONTINUE = auto()


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted in the main thread when one of the signals arrives inside the block.

    A signal that the parent process has ignored stays ignored: `nohup` does so with SIGHUP.
    """
    numbers = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, _interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def deferred() -> Iterator[None]:
    """Let the first signal wait until the end of the block, so that the block's result is known. A second one does not.

    Use it inside `interruptible`.
    """
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if received:
            raise Interrupted(number)
        received.append(number)

    numbers = [number for number in SIGNALS if signal.getsignal(number) is _interrupt]
    try:
        for number in numbers:
            signal.signal(number, note)
        yield
    finally:
        for number in numbers:
            signal.signal(number, _interrupt)
    if received:
        raise Interrupted(received[0])


def ask(*, can_cancel: bool, can_wait: bool = True) -> Choice:
    """Ask the user on a terminal. Without one, or after another Ctrl-C, the job is canceled."""
    if not can_cancel or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return Choice.CANCEL
    try:
        while True:
            more = (
                ", detach and let it continue (d), or keep waiting (w)?" if can_wait else " or let them continue (d)?"
            )
            say(f"\nCancel {'the job' if can_wait else 'the jobs'} (c){more}")
            answer = sys.stdin.readline()
            match answer.strip().lower():
                case "c" | "cancel":
                    return Choice.CANCEL
                case "d" | "detach":
                    return Choice.DETACH
                case "w" | "wait" if can_wait:
                    return Choice.CONTINUE
            if not answer:  # the terminal is closed
                return Choice.CANCEL
    except Interrupted:
        return Choice.CANCEL


def _interrupt(number: int, _: FrameType | None) -> None:
    raise Interrupted(number)
