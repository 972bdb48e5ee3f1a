"""HTTP responses for errors: one table of statuses, one format."""

from __future__ import annotations

import logging

from flask import Response

from cloud_executor import errors
from functions.transport import responses

logger = logging.getLogger(__name__)

_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (errors.Invalid, 400),
    (errors.Unauthorized, 401),
    (errors.Forbidden, 403),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.TooLarge, 413),
    (errors.UnsupportedMediaType, 415),
    (errors.QuotaExceeded, 429),
    (errors.TooManyAttempts, 429),
    (errors.LimitReached, 429),
    (errors.StorageFull, 507),
    (errors.Unavailable, 503),
)


class NoSuchRoute(errors.NotFound):
    """Unknown path or method."""


def error_response(error: Exception) -> Response:
    """The response to a failed request: one sentence that reveals nothing about the internals."""
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    if status >= 500:
        logger.error("request failed", exc_info=error, extra={"action": "request_failed", "status": status})
    message = str(error) if status != 500 else "Internal error; details are in the server log."
    return responses.text(message, status, _headers(error, status))


def _headers(error: Exception, status: int) -> list[responses.Header]:
    if status == 401:
        # Only Bearer: browsers would ask for a user name and a password if it were Basic.
        return [("WWW-Authenticate", 'Bearer realm="Cloud Executor"')]
    if isinstance(error, errors.TooManyAttempts | errors.LimitReached):
        return [("Retry-After", str(error.retry_after))]
    return [("Retry-After", "5")] if status in (429, 503) else []
