"""Fair share: the queue of a pool holds up to a window of each user's waiting jobs; the others wait in the store.

A job takes a place in its user's window from its publish until it is claimed or ends. So however many jobs a user has,
another user's job waits for one window of them at most.
"""

from __future__ import annotations

from cloud_executor.model.jobs.job import Job, Status

DEFAULT_WINDOW = 16
"""Default size of the window. When a job leaves it, the next is published at once, so a few keep many slots busy."""


def free_places(queued: int, window: int) -> int:
    """The number of jobs that can be published while `queued` jobs of their user are in the queue."""
    return max(0, window - queued)


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
