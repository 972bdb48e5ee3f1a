"""Fixtures: the Pub/Sub emulator, started for the first test that asks for it and ended with the session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from emulators.starting import started

from local_stack.emulators import pubsub_emulator


@pytest.fixture(scope="session")
def pubsub_address() -> Iterator[str]:
    """The host and port, for a process that is given it in its environment."""
    yield from started(pubsub_emulator())


@pytest.fixture
def pubsub(pubsub_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same, and the clients' library of this process finds it."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_address)
    return pubsub_address
