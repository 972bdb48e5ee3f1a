"""Cloud Executor: run command-line jobs through WebGME's blob and executor protocol.

    from cloud_executor import Client

The public names are imported when they are first used. Functions and workers share this package, and importing it must
not load the client's HTTP library there.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloud_executor.client import *  # noqa: F403 - type checkers see every public name

__all__ = [  # noqa: F405 - a test compares this list with the client's
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
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module("cloud_executor.client"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
