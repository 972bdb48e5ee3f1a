"""Errors, by kind.

Every error that a user can see derives from `CloudExecutorError`. Its message is a sentence for that user: it says what
is wrong and, if the user can fix it, what to do. It never contains a path of the server, a secret, or a traceback. An
error without a message of its own has its class's docstring. `functions/transport/errors.py` maps kinds to statuses.
"""


class CloudExecutorError(Exception):
    """The request failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class Invalid(CloudExecutorError):
    """The request is malformed."""


class TooLarge(CloudExecutorError):
    """The request is larger than the server accepts."""


class UnsupportedMediaType(CloudExecutorError):
    """The body has the wrong Content-Type."""


class Unauthorized(CloudExecutorError):
    """The credential is missing or not valid."""


class Forbidden(CloudExecutorError):
    """Forbidden."""


class NotFound(CloudExecutorError):
    """Not found."""


class Conflict(CloudExecutorError):
    """The current state of the resource does not allow this request."""


class Unavailable(CloudExecutorError):
    """A storage service is unavailable; try again."""


class StorageFull(Unavailable):
    """The storage is full; free some space and try again."""


class TooManyAttempts(CloudExecutorError):
    """Too many failed attempts came from this address; wait and try again with a valid credential."""

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after
        """Time until the next attempt is possible, in seconds."""


class LimitReached(CloudExecutorError):
    """The user has reached a limit; wait, or ask an administrator to raise it."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Time after which the request may succeed, in seconds."""


class QuotaExceeded(Unavailable):
    """A storage service has rejected the request because its quota is exceeded; try again later."""


def os_reason(error: OSError) -> str:
    """The operating system's reason for an error, to complete a sentence."""
    return (error.strerror or "unknown error").lower()
