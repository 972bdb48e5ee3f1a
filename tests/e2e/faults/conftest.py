from __future__ import annotations

from pathlib import Path

import pytest
from deployment import FIRESTORE, PUBSUB, STORAGE, Deployment, NewDeployment
from emulators.projects import new_project


@pytest.fixture
def emulated(tmp_path: Path, storage_address: str, firestore_address: str, pubsub_address: str) -> NewDeployment:
    """Makes a deployment of the test's own on the emulators of all tests, with settings by keyword."""

    def make(**settings: str) -> Deployment:
        project = new_project()
        return Deployment(
            {
                "EXECUTOR_DATA": str(tmp_path / "data"),
                "EXECUTOR_OBJECTS": "gcs",
                "EXECUTOR_JOBS": "firestore",
                "EXECUTOR_QUEUE": "pubsub",
                "EXECUTOR_PROJECT": project,
                "EXECUTOR_BUCKET": project,
                STORAGE: f"http://{storage_address}",
                FIRESTORE: firestore_address,
                PUBSUB: pubsub_address,
                **settings,
            }
        )

    return make


@pytest.fixture(params=["embedded", "emulated"])
def deploy(request: pytest.FixtureRequest, tmp_path: Path) -> NewDeployment:
    """The same, and on the embedded backends."""
    if request.param == "emulated":
        found: NewDeployment = request.getfixturevalue("emulated")
        return found
    return lambda **settings: Deployment({"EXECUTOR_DATA": str(tmp_path / "data"), **settings})
