"""New projects in the shared emulators."""

from __future__ import annotations

import uuid


def new_project() -> str:
    """Name of a project and of its bucket: emulators separate the data of projects, but share the names of buckets."""
    return f"test-{uuid.uuid4().hex[:16]}"


def new_backends(storage: str, firestore: str, pubsub: str) -> dict[str, str]:
    """Variables that select Google's backends, in a new project of the emulators at these addresses."""
    project = new_project()
    return {
        "EXECUTOR_OBJECTS": "gcs",
        "EXECUTOR_JOBS": "google",
        "EXECUTOR_PROJECT": project,
        "EXECUTOR_BUCKET": project,
        "STORAGE_EMULATOR_HOST": f"http://{storage}",
        "FIRESTORE_EMULATOR_HOST": firestore,
        "PUBSUB_EMULATOR_HOST": pubsub,
    }
