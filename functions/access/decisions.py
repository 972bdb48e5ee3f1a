"""Remember for a short time whom a credential identifies."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from cloud_executor.model.access.caller import Caller
from functions.access.credentials import Credential

KEPT_SECONDS = 60.0
"""Longest time for which a decision is kept, in seconds: a revoked token stops working within this time."""

MAX_KEPT = 10_000
"""Number of decisions that are kept."""


class Decisions:
    """Callers by credential. Only hashes of the credentials are kept. Safe for use by threads."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()

    def get(self, credential: Credential) -> Caller | None:
        with self._lock:
            caller, end = self._kept.get(_key(credential), (None, 0.0))
        return caller if self._now() < end else None

    def keep(self, credential: Credential, caller: Caller, seconds: float) -> None:
        """Keep a decision that stays valid for this time."""
        with self._lock:
            key = _key(credential)
            self._kept[key] = caller, self._now() + min(seconds, KEPT_SECONDS)
            self._kept.move_to_end(key)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)


def _key(credential: Credential) -> bytes:
    return hashlib.sha256(f"{credential.kind}:{credential.text}".encode("utf-8", "replace")).digest()
