from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest
from emulators.projects import new_backends
from emulators.shared import GOOGLE
from memory_folders import memory_folder
from stack_process import StackProcess, StartStack

NewBackends = Callable[[], Mapping[str, str]]


@pytest.fixture(scope="session", params=["embedded", "emulated"])
def backends(request: pytest.FixtureRequest) -> NewBackends:
    """Function that returns the variables of a stack with new backends: embedded, or Google's on shared emulators."""
    if request.param == "embedded":
        return dict
    return partial(new_backends, *(request.getfixturevalue(f"{service}_address") for service in GOOGLE))


@pytest.fixture(scope="session")
def stack(backends: NewBackends) -> Iterator[StackProcess]:
    """A local stack with a worker, shared by tests that do not change it."""
    with (
        memory_folder() as folder,
        closing(StackProcess(folder / "data", "--slots", "2", settings=backends())) as started,
    ):
        yield started


@pytest.fixture
def start_stack(tmp_path: Path) -> Iterator[StartStack]:
    """Start a local stack for one test, with these options and, as keywords, settings."""
    with ExitStack() as stack:

        def start(*options: str, **settings: str) -> StackProcess:
            return stack.enter_context(closing(StackProcess(tmp_path / "data", *options, settings=settings)))

        yield start
