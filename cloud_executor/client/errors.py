"""Errors of the client, by kind. Each message says what to do."""

from __future__ import annotations

import ssl

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
    """The server's address is not valid: give one such as http://127.0.0.1:8888."""


class InvalidProfile(Invalid):
    """The user's profile cannot be used."""


class InvalidSource(Invalid):
    """The job's files cannot be packed."""


class InvalidResult(CloudExecutorError):
    """The results cannot be unpacked."""


class WrongNonce(Forbidden):
    """The server rejected the nonce: give the right one with --nonce or EXECUTOR_NONCE."""


class ServerUnreachable(Unavailable):
    """The server cannot be reached."""

    def __init__(self, url: str) -> None:
        super().__init__(
            f"The server at {url} cannot be reached: start one with `executor up`, "
            "or give its address with --url or EXECUTOR_URL."
        )


class UntrustedCertificate(CloudExecutorError):
    """The server's certificate is not trusted."""

    def __init__(self, url: str, error: ssl.SSLCertVerificationError) -> None:
        what_to_do = _CERTIFICATE_HINTS.get(
            error.verify_code, "set SSL_CERT_FILE to a file with the certificate of its authority"
        )
        reason = error.verify_message.rstrip(".")
        super().__init__(f"The certificate of the server at {url} is not trusted ({reason}): {what_to_do}.")


_CERTIFICATE_HINTS = {
    9: "check the clock of this machine",
    10: "renew the certificate",
    62: "use the host name that it was issued for",
    64: "use the host name that it was issued for",
}
"""What to do about OpenSSL's codes for a date in the future, an expired certificate, and a wrong name or IP address."""


class ServerTimeout(Unavailable):
    """The server did not respond in time: try again."""


class ServerError(CloudExecutorError):
    """The server sent a response that this client does not understand: check the server's address and its log."""


class TransferFailed(Unavailable):
    """The connection to the server broke repeatedly: try again when the network is stable."""


class WaitTimeout(CloudExecutorError):
    """The job did not finish in time. It continues, so you can wait for it again."""


class OutOfRange(Invalid):
    """The requested bytes do not exist."""


ERRORS_BY_STATUS: dict[int, type[CloudExecutorError]] = {
    400: Invalid,
    401: Forbidden,
    403: Forbidden,
    404: NotFound,
    405: NotFound,
    409: Conflict,
    413: TooLarge,
    416: OutOfRange,
    429: QuotaExceeded,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
    507: StorageFull,
}
"""Error classes for the API's HTTP status codes."""
