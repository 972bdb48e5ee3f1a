"""The workers' VMs: one regional managed instance group per pool, with an autoscaler, both named `<prefix>-<pool>`.

A group grows by raising the minimum of its autoscaler, the only one of the three ways that Google allows here. A resize
of an autoscaled regional group is rejected ("Resizing of autoscaled regional managed instance groups is not allowed",
status 412), and so is `createInstances` ("You cannot create instances with specific names while autoscaling is turned
on"). The autoscaler obeys its minimum at once, whereas it sees the backlog only after minutes, and it remains the
safety net. Its mode is ONLY_SCALE_OUT, so lowering the minimum removes no VM. The minimum is lowered once the group has
grown, because the autoscaler would otherwise replace each VM whose worker leaves.

The autoscaler's maximum bounds all of this. A call that dies in between leaves a raised minimum, which the next call
for the pool, or the next worker that leaves, lowers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import google.auth
import requests
from google.auth.credentials import Credentials
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession

from cloud_executor.backends.lazy import Lazy
from cloud_executor.errors import NotFound, Unavailable

logger = logging.getLogger(__name__)

API = "https://compute.googleapis.com"

SCOPES = ("https://www.googleapis.com/auth/compute",)

CALL_SECONDS = 10.0
"""Timeout of a call, in seconds."""

MEMBERS_PER_PAGE = 500
MAX_PAGES = 20
"""Largest number of pages of a group's members that are read. A group has up to 2000 members."""


class InstanceGroups:
    """A WorkerFleet. Safe for concurrent use: a request that overlaps with another can be lost until the next one.

    `least` is the number of VMs that each pool keeps even when they are idle, by the pool's name.
    """

    def __init__(
        self,
        project: str,
        region: str,
        prefix: str,
        least: Mapping[str, int],
        *,
        api: str = API,
        credentials: Credentials | None = None,
    ) -> None:
        self._url = f"{api}/compute/v1/projects/{quote(project)}/regions/{quote(region)}"
        self._prefix = prefix
        self._least = least
        self._credentials = credentials
        self._session = Lazy(self._connect)

    def ensure(self, pool: str, wanted: int) -> None:
        policy = self._call("GET", self._autoscaler(pool))["autoscalingPolicy"]
        minimum = int(policy.get("minNumReplicas", 0))
        least = self._least.get(pool, 0)
        if minimum == least and wanted <= least:
            return
        # A minimum that was raised before stays until the group has reached it.
        needed = max(minimum, min(wanted, int(policy["maxNumReplicas"])))
        target = least if self._size(pool) >= needed else needed
        if target != minimum:
            self._set_minimum(pool, target)

    def remove(self, pool: str, instance_id: str) -> bool:
        """Delete a VM and shrink its group by one, unless the group would have fewer VMs than the pool keeps.

        Returns whether the VM will be deleted. If several VMs are removed at the same moment, the group can have fewer;
        the autoscaler then adds some. As on every shutdown, the VM's programs get a signal. Raises Unavailable, and
        NotFound if the VM is not a member of the pool's group.
        """
        members = self._members(pool) if pool in self._least else ()
        url = next((url for member, url in members if member == instance_id), None)
        if url is None:
            raise NotFound("The machine is not a member of the group of its worker pool.")
        least = self._least.get(pool, 0)
        if least and self._size(pool) <= least:
            return False
        # Otherwise the autoscaler would replace the VM.
        policy = self._call("GET", self._autoscaler(pool))["autoscalingPolicy"]
        if int(policy.get("minNumReplicas", 0)) > least:
            self._set_minimum(pool, least)
        self._call("POST", f"{self._group(pool)}/deleteInstances", {"instances": [url]})
        return True

    def _members(self, pool: str) -> Iterator[tuple[str, str]]:
        """Id and URL of each VM of the group."""
        page = ""
        for _ in range(MAX_PAGES):
            found = self._call(
                "POST",
                f"{self._group(pool)}/listManagedInstances?maxResults={MEMBERS_PER_PAGE}&pageToken={quote(page)}",
            )
            for member in found.get("managedInstances", ()):
                yield str(member.get("id", "")), str(member["instance"])
            page = found.get("nextPageToken", "")
            if not page:
                return

    def _size(self, pool: str) -> int:
        return int(self._call("GET", self._group(pool))["targetSize"])

    def _set_minimum(self, pool: str, minimum: int) -> None:
        name = quote(f"{self._prefix}-{pool}")
        change = {"autoscalingPolicy": {"minNumReplicas": minimum}}
        self._call("PATCH", f"{self._url}/autoscalers?autoscaler={name}", change)
        logger.info("autoscaler minimum set", extra={"action": "scale", "pool": pool, "minimum": minimum})

    def _autoscaler(self, pool: str) -> str:
        return f"{self._url}/autoscalers/{quote(f'{self._prefix}-{pool}')}"

    def _group(self, pool: str) -> str:
        return f"{self._url}/instanceGroupManagers/{quote(f'{self._prefix}-{pool}')}"

    def _call(self, method: str, url: str, body: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401 - JSON
        """Raises Unavailable for every error: names, quotas, and permissions are up to the operator."""
        try:
            response = self._session.get().request(method, url, json=body, timeout=CALL_SECONDS)
            response.raise_for_status()
            found = response.json()
        except (requests.RequestException, GoogleAuthError, ValueError) as error:
            raise Unavailable(f"The instance groups cannot be managed: {_reason(error)}") from error
        if not isinstance(found, dict):
            raise Unavailable("The instance groups cannot be managed: the service sent an invalid response.")
        problems = found.get("error", {}).get("errors")
        if problems:  # an operation that failed at once
            raise Unavailable(f"The instance groups cannot be managed: {problems[0].get('message')}")
        return found

    def _connect(self) -> AuthorizedSession:
        credentials = self._credentials or google.auth.default(scopes=SCOPES)[0]
        return AuthorizedSession(credentials)


def _reason(error: Exception) -> str:
    """The service's own words about an error, which name a missing permission or resource."""
    response = getattr(error, "response", None)
    if response is not None:
        try:
            return str(response.json()["error"]["message"])
        except (ValueError, KeyError, TypeError):
            return f"status {response.status_code}"
    return type(error).__name__
