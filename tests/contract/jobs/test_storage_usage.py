"""The record of how much the object store holds, in every JobStore."""

from __future__ import annotations

from job_documents import NOW, SECOND

from cloud_executor.model.blobs.usage import StorageUsage
from cloud_executor.ports import JobStore


def test_the_latest_record_counts(job_store: JobStore) -> None:
    assert job_store.usage() is None
    for usage in (StorageUsage(0, NOW), StorageUsage(2**60, NOW + SECOND)):
        job_store.record_usage(usage)
        assert job_store.usage() == usage
