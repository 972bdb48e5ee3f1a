"""Tests for the fields of log records about jobs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from embedded_jobs import OPTIONS, BrokenQueue, Clock

from cloud_executor.composition import Jobs
from cloud_executor.errors import Unavailable


def test_log_records_about_a_job_have_its_hash_and_trace(
    jobs: Jobs, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def lines() -> list[tuple[object, ...]]:
        found = [vars(record) for record in caplog.records]
        caplog.clear()
        return [tuple(line.get(name) for name in ("action", "job_hash", "trace", "status")) for line in found]

    replace(jobs, queue=BrokenQueue(Unavailable())).clients.create("j", trace="1" * 32)
    assert lines() == [("publish", "j", "1" * 32, None)]
    jobs.clients.create("untraced")
    for job_hash, trace in (("j", "1" * 32), ("untraced", None)):
        for _ in range(OPTIONS.retries):
            jobs.attempts.claim(job_hash, "w")
            clock.advance(OPTIONS.lease)
            jobs.sweep.run()
            assert lines() == [("lose", job_hash, trace, "CREATED")]
        jobs.attempts.claim(job_hash, "w")
        clock.advance(OPTIONS.lease)
        jobs.sweep.run()
        assert lines() == [("lose", job_hash, trace, "FAILED_TO_EXECUTE")]
        jobs.dead_letters.give_up(job_hash)
        assert lines() == [("give_up", job_hash, trace, "FAILED_TO_EXECUTE")]
