"""The deletion of old data over HTTP, for a scheduler that requests it every day."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import timedelta

from flask import Request, Response

from cloud_executor.retention.collector import Collector
from functions.transport import responses
from functions.transport.errors import NoSuchRoute
from functions.transport.target import Target


@dataclass(frozen=True, slots=True)
class RetentionRoute:
    """Deletes old data for each POST, whatever its path, and responds with a report.

    Simultaneous runs are harmless. The platform authenticates the caller; the content of the request is ignored.
    """

    collector: Collector
    keep: timedelta

    def respond(self, request: Request, target: Target) -> Response:
        """Raises NoSuchRoute, Unavailable."""
        if request.method != "POST":
            raise NoSuchRoute
        report = dataclasses.asdict(self.collector.run(self.keep))
        return responses.response(json.dumps(report).encode(), responses.BLOB_JSON)
