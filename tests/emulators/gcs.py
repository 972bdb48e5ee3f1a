"""Fixtures: the Cloud Storage emulator, started for the first test that asks for it and ended with the session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from emulators.starting import started

from local_stack.emulators import storage_emulator


@pytest.fixture(scope="session")
def storage_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The host and port, for a process that is given it in its environment."""
    yield from started(storage_emulator(tmp_path_factory.mktemp("storage")))


@pytest.fixture
def storage(storage_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same, and the clients' library of this process finds it."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{storage_address}")
    return storage_address
