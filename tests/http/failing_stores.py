"""Stores that fail, to inject errors at the ports."""

from __future__ import annotations

from typing import Any, cast

from cloud_executor.ports import JobQueue, JobStore, ObjectStore


class _Failing:
    """Delegates to the wrapped object, except for the methods that fail."""

    def __init__(self, wrapped: object, error: Exception, methods: tuple[str, ...]) -> None:
        self._wrapped = wrapped
        self._error = error
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._wrapped, name)
        return self._fail if name in self._methods or (not self._methods and callable(found)) else found

    def _fail(self, *_: object, **__: object) -> None:
        raise self._error


def failing_objects(wrapped: ObjectStore, error: Exception, *methods: str) -> ObjectStore:
    """An object store whose `methods` fail; without names, all methods fail."""
    return cast(ObjectStore, _Failing(wrapped, error, methods))


def failing_jobs(wrapped: JobStore, error: Exception, *methods: str) -> JobStore:
    return cast(JobStore, _Failing(wrapped, error, methods))


def failing_queue(wrapped: JobQueue, error: Exception, *methods: str) -> JobQueue:
    return cast(JobQueue, _Failing(wrapped, error, methods))
