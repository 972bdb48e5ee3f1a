"""Delays between retries (cloud_executor/delays.py)."""

from __future__ import annotations

from itertools import islice

import pytest

from cloud_executor.delays import delays


def test_delays_double_up_to_the_longest() -> None:
    assert list(islice(delays(0.5, 3), 5)) == [0.5, 1, 2, 3, 3]


def test_the_growth_factor_can_be_set() -> None:
    assert list(islice(delays(1, 3, factor=1.5), 4)) == [1, 1.5, 2.25, 3]


def test_jitter_varies_each_delay_by_up_to_half() -> None:
    varied = list(islice(delays(1, 1, jitter=True), 100))
    assert all(0.5 <= delay <= 1.5 for delay in varied)
    assert len(set(varied)) > 1


@pytest.mark.parametrize("jitter", [False, True])
def test_delays_never_end(jitter: bool) -> None:
    assert len(list(islice(delays(1e-9, 1, jitter=jitter), 10_000))) == 10_000
