from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
from deployment import FIRESTORE, PUBSUB, STORAGE, Deployment, NewDeployment, emulated_deployment


@pytest.fixture(scope="session")
def emulators(storage_address: str, firestore_address: str, pubsub_address: str) -> Mapping[str, str]:
    """Addresses of the shared emulators, by the environment variables that hold them."""
    return {STORAGE: f"http://{storage_address}", FIRESTORE: firestore_address, PUBSUB: pubsub_address}


@pytest.fixture
def emulated(tmp_path: Path, emulators: Mapping[str, str]) -> NewDeployment:
    """Function that creates a deployment for one test on the shared emulators, with settings as keywords."""
    return partial(emulated_deployment, tmp_path / "data", emulators)


@pytest.fixture(params=["embedded", "emulated"])
def deploy(request: pytest.FixtureRequest, tmp_path: Path) -> NewDeployment:
    """Function that creates a deployment for one test, on the embedded backends or on the shared emulators."""
    if request.param == "emulated":
        found: NewDeployment = request.getfixturevalue("emulated")
        return found
    return lambda **settings: Deployment({"EXECUTOR_DATA": str(tmp_path / "data"), **settings})
