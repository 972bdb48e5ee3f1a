"""The Python client. It needs none of the server's packages."""

from cloud_executor.client.async_client import AsyncClient, AsyncJob
from cloud_executor.client.client import Client
from cloud_executor.client.errors import (
    InvalidAddress,
    InvalidProfile,
    InvalidResult,
    InvalidSource,
    ServerError,
    ServerTimeout,
    ServerUnreachable,
    TransferFailed,
    WaitTimeout,
    WrongNonce,
)
from cloud_executor.client.job import Job
from cloud_executor.client.job_info import JobInfo, OutputSegment, WorkerInfo
from cloud_executor.client.progress import Progress
from cloud_executor.client.results.result import Result
from cloud_executor.errors import (
    CloudExecutorError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    QuotaExceeded,
    StorageFull,
    TooLarge,
    Unavailable,
)

CloudExecutor = Client
"""The former name of `Client`."""

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "Client",
    "CloudExecutor",
    "CloudExecutorError",
    "Conflict",
    "Forbidden",
    "Invalid",
    "InvalidAddress",
    "InvalidProfile",
    "InvalidResult",
    "InvalidSource",
    "Job",
    "JobInfo",
    "NotFound",
    "OutputSegment",
    "Progress",
    "QuotaExceeded",
    "Result",
    "ServerError",
    "ServerTimeout",
    "ServerUnreachable",
    "StorageFull",
    "TooLarge",
    "TransferFailed",
    "Unavailable",
    "WaitTimeout",
    "WorkerInfo",
    "WrongNonce",
]
