from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
from deployment import FIRESTORE, PUBSUB, STORAGE, Deployment, NewDeployment, emulated_deployment


@pytest.fixture(scope="session")
def emulators(storage_address: str, firestore_address: str, pubsub_address: str) -> Mapping[str, str]:
    """Where the emulators of all tests are, by the variables that say so."""
    return {STORAGE: f"http://{storage_address}", FIRESTORE: firestore_address, PUBSUB: pubsub_address}


@pytest.fixture
def emulated(tmp_path: Path, emulators: Mapping[str, str]) -> NewDeployment:
    """Makes a deployment of the test's own on the emulators of all tests, with settings by keyword."""
    return partial(emulated_deployment, tmp_path / "data", emulators)


@pytest.fixture(params=["embedded", "emulated"])
def deploy(request: pytest.FixtureRequest, tmp_path: Path) -> NewDeployment:
    """The same, and on the embedded backends."""
    if request.param == "emulated":
        found: NewDeployment = request.getfixturevalue("emulated")
        return found
    return lambda **settings: Deployment({"EXECUTOR_DATA": str(tmp_path / "data"), **settings})
