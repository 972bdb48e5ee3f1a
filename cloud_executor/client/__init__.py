"""The Python client. It needs none of the server's packages.

The client for asyncio is imported when it is first used, because asyncio delays the start of every command.
"""

from importlib import import_module
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from cloud_executor.client.async_client import AsyncClient, AsyncJob

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

if not TYPE_CHECKING:  # type checkers would take every name for an attribute

    def __getattr__(name: str) -> object:
        if name not in {"AsyncClient", "AsyncJob"}:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module("cloud_executor.client.async_client"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
