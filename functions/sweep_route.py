"""The sweep over HTTP, for a scheduler that requests it every minute."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

from flask import Request, Response

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

    def respond(self, request: Request, target: Target) -> Response:
        """Raises NoSuchRoute, Unavailable."""
        if request.method != "POST":
            raise NoSuchRoute
        report = dataclasses.asdict(self.sweep.run())
        return responses.response(json.dumps(report).encode(), responses.BLOB_JSON)
