"""What can go wrong, by kind.

Every error that a user may see derives from `CloudExecutorError`. Its text is one sentence written for that user: it
names what is wrong and what to do, never a path, a secret or a trace. The HTTP edge maps the kinds to statuses in one
table.
"""


class CloudExecutorError(Exception):
    """The request could not be completed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class Invalid(CloudExecutorError):
    """The request is malformed."""


class TooLarge(CloudExecutorError):
    """The request is larger than the service takes."""


class Forbidden(CloudExecutorError):
    """Forbidden."""


class NotFound(CloudExecutorError):
    """Not Found."""


class Conflict(CloudExecutorError):
    """The stored state does not allow this."""


class Unavailable(CloudExecutorError):
    """A storage service cannot be reached at the moment; try again."""


class StorageFull(Unavailable):
    """The storage is full; free some space and try again."""


class QuotaExceeded(Unavailable):
    """A storage service takes no more requests at the moment; try again in a while."""


def os_reason(error: OSError) -> str:
    """The operating system's reason for an error, to complete a sentence."""
    return (error.strerror or "unknown error").lower()
