"""Tests of the sweep over HTTP."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from flask import Request

from cloud_executor.errors import Unavailable
from cloud_executor.jobs.stats import JobStats
from cloud_executor.jobs.sweep import Sweep, SweepReport
from functions.sweep_route import SweepRoute


def test_each_sweep_logs_the_age_of_waiting_jobs_even_if_it_fails() -> None:
    sweep, stats = Mock(spec=Sweep), Mock(spec=JobStats)
    request = Request.from_values(method="POST")
    sweep.run.return_value = SweepReport()
    assert SweepRoute(sweep, stats).respond(request, Mock()).status_code == 200
    sweep.run.side_effect = Unavailable
    with pytest.raises(Unavailable):
        SweepRoute(sweep, stats).respond(request, Mock())
    assert stats.log_waiting.call_count == 2
