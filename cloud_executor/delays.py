"""Delays between retries."""

from __future__ import annotations

import random
from collections.abc import Iterator


def delays(
    first_seconds: float, longest_seconds: float, *, factor: float = 2.0, jitter: bool = False
) -> Iterator[float]:
    """Yield delays, in seconds, that grow by `factor` up to the longest one, which then repeats.

    With `jitter`, each delay varies by up to half, so that callers that collided do not collide again.
    """
    delay = first_seconds
    while True:
        yield delay * random.uniform(0.5, 1.5) if jitter else delay  # noqa: S311 - not a secret
        delay = min(factor * delay, longest_seconds)
