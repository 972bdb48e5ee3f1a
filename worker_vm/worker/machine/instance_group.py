"""The managed instance group that contains this machine, if it is a Google Cloud VM."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cloud_executor.errors import Unavailable
from worker_vm.worker.machine.metadata_server import machine_metadata

LEAVE_SECONDS = 10.0
"""Time limit for a request to remove the machine, in seconds. A signal to stop waits for it."""

_REGIONAL_GROUP = re.compile(r"projects/[^/]+/regions/(?P<region>[^/]+)/instanceGroupManagers/(?P<group>[^/]+)")


@dataclass(frozen=True, slots=True)
class InstanceGroup:
    """A regional group, and this machine's name in it."""

    project: str
    region: str
    name: str
    instance: str
    """The machine, as the API names it: zones/<zone>/instances/<name>."""

    def remove_this_machine(self, least: int) -> bool:
        """Delete the machine and shrink the group by one, unless the group would have fewer than `least` machines.

        Returns whether the machine will be deleted. If several machines do this at the same moment, all of them may be
        deleted; the autoscaler then adds some. As on every shutdown, the programs get a signal within about a minute.
        Raises Unavailable if the request fails.
        """
        # Imported here because they take more memory than the rest of the worker, and are only needed once.
        from google.api_core.exceptions import GoogleAPICallError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud.compute_v1 import RegionInstanceGroupManagersClient

        group = {"project": self.project, "region": self.region, "instance_group_manager": self.name}
        try:
            client = RegionInstanceGroupManagersClient()
            if least and client.get(group, timeout=LEAVE_SECONDS).target_size <= least:
                return False
            operation = client.delete_instances_unary(
                {
                    **group,
                    "region_instance_group_managers_delete_instances_request_resource": {"instances": [self.instance]},
                },
                timeout=LEAVE_SECONDS,
            )
        except (GoogleAPICallError, GoogleAuthError, OSError) as error:
            raise Unavailable(
                "The machine could not be removed from its instance group; the worker tries again later."
            ) from error
        if operation.error.errors:
            raise Unavailable(
                f"The machine could not be removed from its instance group: {operation.error.errors[0].message}"
            )
        return True


def own_instance_group() -> InstanceGroup | None:
    """The group of this machine; None if it has no such group or is not a Google Cloud VM."""
    created_by = _REGIONAL_GROUP.fullmatch(machine_metadata("instance/attributes/created-by") or "")
    if created_by is None:
        return None
    project, name, zone = map(machine_metadata, ("project/project-id", "instance/name", "instance/zone"))
    if not (project and name and zone):
        return None
    instance = f"zones/{zone.rpartition('/')[2]}/instances/{name}"
    return InstanceGroup(project, created_by["region"], created_by["group"], instance)
