"""Which fleet the settings select."""

from __future__ import annotations

from cloud_executor.backends.google.instance_groups import InstanceGroups
from cloud_executor.composition import open_instance_groups
from cloud_executor.settings import Settings

GOOGLE = {
    "EXECUTOR_JOBS": "google",
    "EXECUTOR_OBJECTS": "gcs",
    "EXECUTOR_BUCKET": "b",
    "EXECUTOR_PROJECT": "p",
}


def test_a_region_selects_the_instance_groups_of_the_pools() -> None:
    assert open_instance_groups(Settings.from_env(GOOGLE)) is None
    assert open_instance_groups(Settings()) is None
    settings = Settings.from_env({**GOOGLE, "EXECUTOR_WORKER_REGION": "us-central1"})
    assert isinstance(open_instance_groups(settings), InstanceGroups)
