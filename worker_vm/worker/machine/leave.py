"""Give up this machine, if it is a VM in a managed instance group: the service `sweep` deletes it.

The worker itself may not change its group. It proves which VM it is with an identity token, signed by Google.
"""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from urllib.parse import quote

from cloud_executor.errors import Unavailable
from worker_vm.worker.machine.metadata_server import machine_metadata

LEAVE_SECONDS = 25.0
"""Time limit for the request, in seconds. The service may have to start first."""

_MAX_BYTES = 2**16
_REGIONAL_GROUP = re.compile(r"projects/[^/]+/regions/[^/]+/instanceGroupManagers/[^/]+")


def is_in_instance_group() -> bool:
    """Whether this machine is a VM in a regional managed instance group."""
    created_by = machine_metadata("instance/attributes/created-by")
    return created_by is not None and _REGIONAL_GROUP.fullmatch(created_by) is not None


@dataclass(frozen=True, slots=True)
class SweepService:
    """The service that removes idle machines."""

    url: str
    audience: str
    """Audience of the token that the service verifies."""

    def remove_this_machine(self, pool: str) -> bool:
        """Delete the machine and shrink its group by one, unless the pool must keep it.

        Returns whether the machine will be deleted. As on every shutdown, the programs then get a signal. Raises
        Unavailable if the request fails.
        """
        request = urllib.request.Request(  # noqa: S310 - the operator's URL
            f"{self.url.rstrip('/')}/leave",
            json.dumps({"pool": pool}).encode(),
            {
                "Content-Type": "application/json",
                # The platform verifies this token and lets the other one pass unchanged.
                "X-Serverless-Authorization": f"Bearer {_identity(self.url)}",
                "Authorization": f"Bearer {_identity(self.audience)}",
            },
        )
        try:
            with urllib.request.build_opener(_NoRedirects).open(request, timeout=LEAVE_SECONDS) as response:
                answer = json.loads(response.read(_MAX_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                reason = error.read(_MAX_BYTES).decode(errors="replace").strip()
            raise Unavailable(f"The machine cannot leave its instance group: {reason or error}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable("The service that removes idle machines cannot be reached.") from error
        if not isinstance(answer, dict) or not isinstance(answer.get("leaving"), bool):
            raise Unavailable("The service that removes idle machines sent an invalid response.")
        return bool(answer["leaving"])


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, which would get the tokens too."""

    def redirect_request(self, *_: object) -> None:
        return None


def _identity(audience: str) -> str:
    """An identity token of this machine. Raises Unavailable."""
    token = machine_metadata(
        f"instance/service-accounts/default/identity?audience={quote(audience, safe='')}&format=full"
    )
    if token is None:
        raise Unavailable("The metadata server gave this machine no identity token.")
    return token.strip()
