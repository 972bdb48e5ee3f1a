from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from memory_folders import memory_folder
from stack_process import StackProcess, StartStack


@pytest.fixture(scope="session", params=["embedded", "emulated"])
def kind(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Options of a stack with embedded backends, or of one with Google's backends on emulators."""
    if request.param == "embedded":
        return ()
    for service in ("storage", "firestore", "pubsub"):
        request.getfixturevalue(f"{service}_address")  # skips the test if the emulator is missing
    return ("--emulators",)


@pytest.fixture(scope="session")
def stack(kind: tuple[str, ...]) -> Iterator[StackProcess]:
    """A local stack with a worker, shared by tests that do not change it."""
    with memory_folder() as folder, closing(StackProcess(folder / "data", "--slots", "2", *kind)) as started:
        yield started


@pytest.fixture
def start_stack(tmp_path: Path) -> Iterator[StartStack]:
    """Start a local stack for one test, with these options and, as keywords, settings."""
    with ExitStack() as stack:

        def start(*options: str, **settings: str) -> StackProcess:
            return stack.enter_context(closing(StackProcess(tmp_path / "data", *options, settings=settings)))

        yield start
