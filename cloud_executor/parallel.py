"""Calls that wait for a remote store, several at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(function: Callable[[Item], Result], items: Collection[Item], concurrency: int) -> Iterable[Result]:
    """The results in the order of the items; at most `concurrency` calls at once. Raises what a call raises."""
    if concurrency == 1 or len(items) < 2:
        return map(function, items)
    with ThreadPoolExecutor(min(concurrency, len(items))) as threads:
        return list(threads.map(function, items))
