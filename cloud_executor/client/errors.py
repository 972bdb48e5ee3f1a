"""What can go wrong between a client and its server, by kind; each text says what to do."""

from __future__ import annotations

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


class InvalidAddress(Invalid):
    """The address of the server is not one; it looks like http://127.0.0.1:8888."""


class InvalidSource(Invalid):
    """The files of the job cannot be packed."""


class InvalidResult(CloudExecutorError):
    """The results cannot be unpacked."""


class WrongNonce(Forbidden):
    """The server wants a nonce, and this is not it: give the right one with --nonce or EXECUTOR_NONCE."""


class ServerUnreachable(Unavailable):
    """The server cannot be reached."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"The server at {url} cannot be reached: start one with `executor up`, "
            "or say where it is with --url or EXECUTOR_URL."
        )


class ServerSilent(Unavailable):
    """The server did not answer in time; try again."""


class ServerFault(CloudExecutorError):
    """The server answered in a way that this client does not understand."""


class TransferBroken(Unavailable):
    """The connection broke off again and again; try again when the network is better."""


class WaitedTooLong(CloudExecutorError):
    """The job has not finished in time; it goes on, and can be waited for again."""


class OutOfRange(Invalid):
    """The bytes asked for are not there."""


KINDS: dict[int, type[CloudExecutorError]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    405: NotFound,
    409: Conflict,
    413: TooLarge,
    416: OutOfRange,
    429: QuotaExceeded,
    503: Unavailable,
    507: StorageFull,
}
"""the kinds behind the statuses of the API"""
