"""Fair share: the queue of a pool holds up to a window of each user's waiting jobs; the others wait in the store.

A job takes a place in its user's window from its publish until it is claimed or ends. So however many jobs a user has,
another user's job waits for one window of them at most.
"""

from __future__ import annotations

from collections.abc import Callable

from cloud_executor.model.jobs.job import Job, Status

RunningLimit = Callable[[str], int | None]
"""Function that returns the maximum number of running jobs of a user; None: no limit."""

DEFAULT_WINDOW = 16
"""Default size of the window. When a job leaves it, the next is published at once, so a few keep many slots busy."""


def free_places(queued: int, window: int) -> int:
    """The number of jobs that can be published while `queued` jobs of their user are in the queue."""
    return max(0, window - queued)


def limited_window(window: int, running: int, limit: int | None) -> int:
    """The window of a user with so many running jobs, whose running jobs are limited; None: no limit.

    The jobs in the queue can all start, so they and the running jobs together must not exceed the limit.
    """
    return window if limit is None else max(0, min(window, limit - running))


def stops_running(before: Job | None, after: Job | None) -> bool:
    """Whether the change ends an attempt, so that another job of the user may start."""
    return before is not None and before.running and (after is None or not after.running)


def is_queued(job: Job) -> bool:
    """Whether the job takes a place in its user's window."""
    return job.status == Status.CREATED and job.pool is not None and job.published_at is not None


def is_held(job: Job) -> bool:
    """Whether the job waits for a pool whose queue has no message for it yet."""
    return job.status == Status.CREATED and job.pool is not None and job.published_at is None


def leaves_window(before: Job | None, after: Job | None) -> bool:
    """Whether the change takes the job out of its user's window, so that another job gets its place."""
    if before is None or not is_queued(before):
        return False
    return after is None or not is_queued(after) or (after.user_id, after.pool) != (before.user_id, before.pool)
