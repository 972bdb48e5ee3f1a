"""Worker pools: groups of our own workers that take jobs from one queue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerPool:
    """Workers that are alike."""

    name: str
    labels: frozenset[str] = frozenset()
    """what its workers offer"""


def pool_for(labels: Iterable[str], pools: Sequence[WorkerPool]) -> WorkerPool | None:
    """The first pool that has all these labels; None: only an external worker can take the job."""
    wanted = frozenset(labels)
    return next((pool for pool in pools if wanted <= pool.labels), None)
