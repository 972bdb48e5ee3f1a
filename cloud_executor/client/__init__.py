"""The Python client. It needs none of the server's packages."""

from cloud_executor.client.client import Client
from cloud_executor.client.errors import (
    InvalidAddress,
    InvalidSource,
    ServerError,
    ServerTimeout,
    ServerUnreachable,
    TransferFailed,
    WaitTimeout,
    WrongNonce,
)
from cloud_executor.client.job_info import JobInfo, OutputSegment, WorkerInfo
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
    "Client",
    "CloudExecutor",
    "CloudExecutorError",
    "Conflict",
    "Forbidden",
    "Invalid",
    "InvalidAddress",
    "InvalidSource",
    "JobInfo",
    "NotFound",
    "OutputSegment",
    "QuotaExceeded",
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
