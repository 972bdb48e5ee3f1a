"""Options of calls to Firestore, and the errors after which a call is repeated."""

from __future__ import annotations

from typing import Any

from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type

CALL_SECONDS = 10.0
"""Timeout of a call, including its retries, in seconds."""

TRANSIENT = (exceptions.ServiceUnavailable, exceptions.InternalServerError, exceptions.DeadlineExceeded)
"""Errors after which a call is retried, although it can have taken effect."""

LOST_RACE = (exceptions.Conflict, exceptions.FailedPrecondition)
"""Errors of a commit that conflicts with another change of the job."""

RETRY = Retry(
    predicate=if_exception_type(*TRANSIENT, exceptions.Aborted), initial=0.05, maximum=1.0, timeout=CALL_SECONDS
)
RETRIED: dict[str, Any] = {"retry": RETRY, "timeout": CALL_SECONDS}
ONCE: dict[str, Any] = {"retry": None, "timeout": CALL_SECONDS}
