"""The upkeep, for a scheduler that asks for it every minute."""

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
    """Answers a POST to any address with what was mended; each request does a bounded part of it.

    Two at once do no harm. Who may ask is the platform's affair: nothing of a request counts but that it came.
    """

    sweep: Sweep

    def respond(self, request: Request, target: Target) -> Response:
        """Raises NoSuchRoute, Unavailable."""
        if request.method != "POST":
            raise NoSuchRoute
        report = dataclasses.asdict(self.sweep.run())
        return responses.answer(json.dumps(report).encode(), responses.BLOB_JSON)
