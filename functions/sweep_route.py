"""The sweep over HTTP, for a scheduler that requests it every minute."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from flask import Request, Response

from cloud_executor.jobs.stats import JobStats
from cloud_executor.jobs.sweep import Sweep
from functions.transport import responses
from functions.transport.errors import NoSuchRoute
from functions.transport.target import Target


@dataclass(frozen=True, slots=True)
class SweepRoute:
    """Runs a sweep for each POST, whatever its path, and responds with a report. A sweep does a bounded amount of work.

    Simultaneous sweeps are harmless. The platform authenticates the caller; the content of the request is ignored.
    """

    sweep: Sweep
    stats: JobStats

    def respond(self, request: Request, target: Target) -> Response:
        """Raises NoSuchRoute, Unavailable."""
        if request.method != "POST":
            raise NoSuchRoute
        try:
            report = dataclasses.asdict(self.sweep.run())
        finally:
            # Also if jobs could not be published, which makes them wait.
            self.stats.log_waiting()
        return responses.response(json.dumps(report).encode(), responses.BLOB_JSON)
