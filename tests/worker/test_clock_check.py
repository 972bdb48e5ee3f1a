"""A worker compares its clock with the job store's when it starts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from worker_harness import Stack

from cloud_executor.settings import InvalidSetting
from worker_vm.worker.main import check_clock


@pytest.mark.parametrize(("seconds", "words"), [(-40, "40 seconds behind"), (3600, "3600 seconds ahead of")])
def test_a_wrong_clock_is_an_error(stack: Stack, seconds: int, words: str) -> None:
    jobs = replace(stack.jobs, lease_clock=stack.jobs.clock)
    wrong = replace(jobs, clock=lambda: jobs.clock() + timedelta(seconds=seconds))
    with pytest.raises(InvalidSetting, match=f"The clock of this machine is {words} the job store's. Synchronize it."):
        check_clock(wrong)


@pytest.mark.parametrize("seconds", [-4, 0, 4])
def test_a_small_difference_is_accepted(stack: Stack, seconds: int) -> None:
    jobs = replace(stack.jobs, lease_clock=stack.jobs.clock)
    check_clock(replace(jobs, clock=lambda: jobs.clock() + timedelta(seconds=seconds)))
