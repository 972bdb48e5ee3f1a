"""Concurrent calls to a remote store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(function: Callable[[Item], Result], items: Collection[Item], concurrency: int) -> Iterable[Result]:
    """Call the function for each item, up to `concurrency` calls at once. Returns the results in the order of the
    items.

    Raises what a call raises. Without concurrency, each call is made when its result is consumed.
    """
    if concurrency == 1 or len(items) < 2:
        return map(function, items)
    with ThreadPoolExecutor(min(concurrency, len(items))) as threads:
        return list(threads.map(function, items))
