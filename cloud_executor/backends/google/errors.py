"""Translate errors of Google's client libraries into those of the ports."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError

from cloud_executor.errors import CloudExecutorError, Conflict, NotFound, QuotaExceeded, Unavailable

P = ParamSpec("P")
T = TypeVar("T")

_KINDS: tuple[tuple[type[Exception], type[CloudExecutorError]], ...] = (
    (exceptions.NotFound, NotFound),
    (exceptions.Conflict, Conflict),
    (exceptions.FailedPrecondition, Conflict),
    (exceptions.PreconditionFailed, Conflict),
    (exceptions.TooManyRequests, QuotaExceeded),
)


@contextmanager
def google_errors() -> Iterator[None]:
    """Translate errors raised inside the block. Wrap only our own calls, so that a caller's errors pass unchanged.

    Errors that the request did not cause (no permission, no connection, a timeout) become Unavailable; the cause is for
    the log.
    """
    try:
        yield
    except (exceptions.GoogleAPIError, GoogleAuthError) as error:
        raise google_error(error) from error


def google_error(error: Exception) -> CloudExecutorError:
    """The port's error for an error of a client library."""
    if isinstance(error, exceptions.RetryError) and isinstance(error.cause, exceptions.GoogleAPIError):
        return google_error(error.cause)
    return next((kind() for library_error, kind in _KINDS if isinstance(error, library_error)), Unavailable())


def with_google_errors(function: Callable[P, T]) -> Callable[P, T]:
    """Wrap every call of a function in `google_errors`."""

    @functools.wraps(function)
    def wrapped(*arguments: P.args, **named: P.kwargs) -> T:
        with google_errors():
            return function(*arguments, **named)

    return wrapped
