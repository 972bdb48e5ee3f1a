"""Values that are created on first use (cloud_executor/backends/lazy.py)."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloud_executor.backends.lazy import Lazy


def test_a_value_is_created_once_for_all_threads() -> None:
    created: list[object] = []

    def create() -> object:
        time.sleep(0.01)
        created.append(object())
        return created[-1]

    lazy = Lazy(create)
    assert created == []
    with ThreadPoolExecutor(4) as threads:
        values = list(threads.map(lambda _: lazy.get(), range(4)))
    assert values == created * 4


def test_an_error_is_raised_and_the_next_use_tries_again() -> None:
    outcomes = iter([False, True])

    def create() -> str:
        if next(outcomes):
            return "value"
        raise ConnectionError

    lazy = Lazy(create)
    with pytest.raises(ConnectionError):
        lazy.get()
    assert lazy.get() == "value"
