"""Limit the requests of each user, per process."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from cloud_executor.model.access.quota import Quota, limit_reached

MAX_USERS = 10_000
"""Number of users that are remembered."""

MINUTE_SECONDS = 60.0


class RequestRates:
    """The requests of the last minute in this process. Safe for use by threads."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._users: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Requests that a user has left, and the time at which they were counted."""

    def count(self, user: str, limit: int) -> None:
        """Count a request of a user that may send `limit` requests per minute, also at once. Raises LimitReached."""
        with self._lock:
            now = self._now()
            left, counted = self._users.pop(user, (float(limit), now))
            left = min(limit, left + (now - counted) * limit / MINUTE_SECONDS)
            accepted = left >= 1
            self._users[user] = left - accepted, now
            if len(self._users) > MAX_USERS:
                self._users.popitem(last=False)
        if not accepted:
            seconds = math.ceil((1 - left) * MINUTE_SECONDS / limit) if limit else int(MINUTE_SECONDS)
            raise limit_reached(Quota.REQUESTS_PER_MINUTE, user, limit, seconds)
