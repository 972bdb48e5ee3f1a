"""Logs as records: one JSON object a line, in the form that Google Cloud Logging reads."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType

_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_fields: ContextVar[Mapping[str, object]] = ContextVar("fields", default=MappingProxyType({}))


@contextmanager
def logged_with(**fields: object) -> Iterator[None]:
    """Each line that this thread logs meanwhile has these fields, whatever part of the program logs it.

    One that is None is not there. What a line says itself goes before them.
    """
    known = {name: value for name, value in fields.items() if value is not None}
    token = _fields.set({**_fields.get(), **known})
    try:
        yield
    finally:
        _fields.reset(token)


class JsonFormatter(logging.Formatter):
    """The message is constant text; what differs is passed as `extra` and becomes fields.

    A field `trace`, 32 hex digits, becomes the one by which Cloud Logging finds all lines of a trace of the `project`
    (https://cloud.google.com/logging/docs/structured-logging, special fields). Without a project it stays as it is.
    """

    def __init__(self, component: str, project: str | None = None) -> None:
        super().__init__()
        self._component = component
        self._trace_name = "trace" if project is None else "logging.googleapis.com/trace"
        self._trace_prefix = "" if project is None else f"projects/{project}/traces/"

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "severity": record.levelname,
            "component": self._component,
            "message": record.getMessage(),
        }
        entry.update(_fields.get())
        entry.update((name, value) for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES)
        trace = entry.pop("trace", None)
        if trace is not None:
            entry[self._trace_name] = f"{self._trace_prefix}{trace}"
        if record.exc_info:
            entry["stack_trace"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def configure_logging(component: str, project: str | None, level: int = logging.INFO) -> None:
    """Send all logs of this process to standard error as JSON lines; `project`: where there is one, its traces."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(component, project))
    logging.basicConfig(level=level, handlers=[handler], force=True)
