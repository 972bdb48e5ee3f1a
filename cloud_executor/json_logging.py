"""Logs as JSON lines, one record per line, in the format of Google Cloud Logging."""

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
    """Add these fields to every record this thread logs inside the block. None values are dropped.

    A record's own fields take precedence.
    """
    known = {name: value for name, value in fields.items() if value is not None}
    token = _fields.set({**_fields.get(), **known})
    try:
        yield
    finally:
        _fields.reset(token)


class JsonFormatter(logging.Formatter):
    """Format a record as JSON. Messages are constant strings; variable data is passed as `extra` and becomes fields.

    With a `project`, the field `trace` (32 hex digits) becomes the special field by which Cloud Logging finds all
    records of a trace (https://cloud.google.com/logging/docs/structured-logging). Without one, it is unchanged.
    """

    def __init__(self, component: str, project: str | None = None, deployment: str | None = None) -> None:
        super().__init__()
        self._source = {"component": component} | ({} if deployment is None else {"deployment": deployment})
        self._trace_name = "trace" if project is None else "logging.googleapis.com/trace"
        self._trace_prefix = "" if project is None else f"projects/{project}/traces/"

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "severity": record.levelname,
            **self._source,
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


def configure_logging(
    component: str, project: str | None, level: int = logging.INFO, deployment: str | None = None
) -> None:
    """Log to standard error as JSON lines. `project` is the Google Cloud project of the traces, if there is one.

    `deployment` names one of several deployments in the project.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(component, project, deployment))
    logging.basicConfig(level=level, handlers=[handler], force=True)
