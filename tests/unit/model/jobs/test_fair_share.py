"""The window of each user's jobs in the queue of a pool."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from cloud_executor.model.jobs.fair_share import free_places, is_held, is_queued, leaves_window
from cloud_executor.model.jobs.job import Job, Status

NOW = datetime(2026, 1, 31, tzinfo=UTC)
HELD = Job(hash="job", create_time="2026-01-31T00:00:00.000Z", secret="secret", pool="pool")


def changed(job: Job = HELD, **fields: object) -> Job:
    return msgspec.structs.replace(job, **fields)


QUEUED = changed(published_at=NOW)


@pytest.mark.parametrize(
    ("job", "held", "queued"),
    [
        (HELD, True, False),
        (QUEUED, False, True),
        (changed(pool=None), False, False),
        (changed(QUEUED, pool=None), False, False),
        (changed(QUEUED, status=Status.RUNNING), False, False),
        (changed(status=Status.RUNNING), False, False),
        (changed(QUEUED, status=Status.CANCELED), False, False),
        (changed(status=Status.CANCELED), False, False),
    ],
)
def test_a_job_that_waits_for_a_pool_is_either_in_the_queue_or_waits_for_a_place(
    job: Job, held: bool, queued: bool
) -> None:
    assert (is_held(job), is_queued(job)) == (held, queued)


@pytest.mark.parametrize(
    ("before", "after", "leaves"),
    [
        (QUEUED, changed(QUEUED, status=Status.RUNNING), True),
        (QUEUED, changed(QUEUED, status=Status.CANCELED), True),
        (QUEUED, HELD, True),
        (QUEUED, changed(QUEUED, pool="other"), True),
        (QUEUED, None, True),
        (QUEUED, changed(QUEUED, publishes=2), False),
        (HELD, QUEUED, False),
        (HELD, changed(status=Status.CANCELED), False),
        (None, QUEUED, False),
    ],
)
def test_a_job_leaves_the_window_when_it_no_longer_waits_in_the_same_queue(
    before: Job | None, after: Job | None, leaves: bool
) -> None:
    assert leaves_window(before, after) is leaves


@pytest.mark.parametrize(("queued", "places"), [(0, 3), (2, 1), (3, 0), (9, 0)])
def test_a_window_has_places_until_it_is_full(queued: int, places: int) -> None:
    assert free_places(queued, 3) == places
