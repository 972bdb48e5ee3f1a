"""The Python client and the `executor` command. They need no part of the server."""

from cloud_executor.client.client import CloudExecutor
from cloud_executor.client.job_info import JobInfo, OutputSegment, WorkerInfo

__all__ = ["CloudExecutor", "JobInfo", "OutputSegment", "WorkerInfo"]
