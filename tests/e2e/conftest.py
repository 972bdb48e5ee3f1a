from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from stack_process import StackProcess, StartStack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackProcess]:
    """A local stack with a worker, for tests that leave it as it is."""
    with closing(StackProcess(tmp_path_factory.mktemp("stack") / "data", "--slots", "2")) as started:
        yield started


@pytest.fixture
def start_stack(tmp_path: Path) -> Iterator[StartStack]:
    """Start a local stack of the test's own: with options, and with settings by keyword."""
    with ExitStack() as stack:

        def start(*options: str, **settings: str) -> StackProcess:
            return stack.enter_context(closing(StackProcess(tmp_path / "data", *options, settings=settings)))

        yield start
