"""`POST /leave`: an idle worker gives up its VM.

The worker has no permission on its instance group, because that permission would reach every group of the project, and
a job that escapes from its container could use it. It sends the identity token of its VM instead, and this service
deletes that VM and no other one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from flask import Request, Response

from cloud_executor.errors import Forbidden, Invalid, NotFound
from functions.transport import responses
from functions.transport.errors import NoSuchRoute
from functions.transport.identity import bearer_token
from functions.transport.request_body import json_fields
from functions.transport.target import Target

logger = logging.getLogger(__name__)


class Machines(Protocol):
    """The VMs of the worker pools."""

    def remove(self, pool: str, instance_id: str) -> bool:
        """Delete a VM of the pool. Returns False if the pool must keep it. Raises NotFound, Unavailable."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """The VMs that may leave, and how they prove who they are."""

    machines: Machines
    project: str
    region: str
    verified: Callable[[str], Mapping[str, Any]]

    def machine(self, token: str) -> str:
        """Id of the VM that has the token. Raises Forbidden, Unavailable."""
        claims = self.verified(token).get("google")
        machine = claims.get("compute_engine") if isinstance(claims, dict) else None
        if not isinstance(machine, dict) or not machine.get("instance_id"):
            raise Forbidden("The identity token does not identify a machine; request it with format=full.")
        if machine.get("project_id") != self.project or not str(machine.get("zone")).startswith(f"{self.region}-"):
            raise Forbidden("The identity token belongs to a machine in another project or region.")
        return str(machine["instance_id"])


@dataclass(frozen=True, slots=True)
class LeaveRoute:
    """Serves `POST /leave` with the body `{"pool": NAME}`, and leaves other paths to other routes."""

    leaving: Leaving | None
    """None if this deployment has no instance groups."""

    def respond(self, request: Request, target: Target) -> Response | None:
        """Raises NoSuchRoute, NotFound, Forbidden, Invalid, Unavailable."""
        if target.below("leave") != ():
            return None
        if request.method != "POST":
            raise NoSuchRoute
        if self.leaving is None:
            raise NotFound("This deployment has no instance groups; set EXECUTOR_WORKER_REGION if it has some.")
        instance_id = self.leaving.machine(bearer_token(request))
        pool = json_fields(request).get("pool")
        if not isinstance(pool, str):
            raise Invalid("pool must be the name of the worker's pool.")
        left = self.leaving.machines.remove(pool, instance_id)
        logger.info("idle machine", extra={"action": "leave", "pool": pool, "instance": instance_id, "left": left})
        return responses.response(json.dumps({"leaving": left}).encode(), responses.BLOB_JSON)
