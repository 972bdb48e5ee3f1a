from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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


@pytest.fixture(params=OBJECT_BACKENDS, ids=lambda backend: backend.__name__)
def object_backend(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectBackend:
    backend: ObjectBackend = request.param(tmp_path)
    return backend


@pytest.fixture
def object_store(object_backend: ObjectBackend) -> Iterator[ObjectStore]:
    with object_backend.open() as store:
        yield store


@pytest.fixture(params=JOB_BACKENDS, ids=lambda backend: backend.__name__)
def job_backend(request: pytest.FixtureRequest, tmp_path: Path) -> JobBackend:
    backend: JobBackend = request.param(tmp_path)
    return backend


@pytest.fixture
def job_store(job_backend: JobBackend) -> Iterator[JobStore]:
    with job_backend.open() as store:
        yield store


@pytest.fixture(params=QUEUE_BACKENDS, ids=lambda backend: backend.__name__)
def queue_backend(request: pytest.FixtureRequest, tmp_path: Path) -> QueueBackend:
    backend: QueueBackend = request.param(tmp_path)
    return backend


@pytest.fixture
def job_queue(queue_backend: QueueBackend) -> Iterator[JobQueue]:
    with queue_backend.open() as queue:
        yield queue
