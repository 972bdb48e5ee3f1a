from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contract_backends import (
    JOB_BACKENDS,
    OBJECT_BACKENDS,
    QUEUE_BACKENDS,
    JobBackend,
    ObjectBackend,
    QueueBackend,
)

from cloud_executor.ports import JobQueue, JobStore, ObjectStore


def new_backend(request: pytest.FixtureRequest, folder: Path) -> Any:
    """Create the backend that is the fixture's parameter, after starting the services that it needs."""
    for fixture in request.param.fixtures:
        request.getfixturevalue(fixture)
    return request.param(folder)


@pytest.fixture(params=OBJECT_BACKENDS, ids=lambda backend: backend.__name__)
def object_backend(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectBackend:
    return new_backend(request, tmp_path)


@pytest.fixture
def object_store(object_backend: ObjectBackend) -> Iterator[ObjectStore]:
    with object_backend.open() as store:
        yield store


@pytest.fixture(params=JOB_BACKENDS, ids=lambda backend: backend.__name__)
def job_backend(request: pytest.FixtureRequest, tmp_path: Path) -> JobBackend:
    return new_backend(request, tmp_path)


@pytest.fixture
def job_store(job_backend: JobBackend) -> Iterator[JobStore]:
    with job_backend.open() as store:
        yield store


@pytest.fixture(params=QUEUE_BACKENDS, ids=lambda backend: backend.__name__)
def queue_backend(request: pytest.FixtureRequest, tmp_path: Path) -> QueueBackend:
    return new_backend(request, tmp_path)


@pytest.fixture
def job_queue(queue_backend: QueueBackend) -> Iterator[JobQueue]:
    with queue_backend.open() as queue:
        yield queue
