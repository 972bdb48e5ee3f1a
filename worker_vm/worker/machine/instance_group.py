"""The managed instance group that this machine is in, where it is one of Google's."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cloud_executor.errors import Unavailable
from worker_vm.worker.machine.metadata_server import machine_metadata

LEAVE_SECONDS = 10.0
"""how long the removal may take to be accepted; a signal to stop waits for that"""

_REGIONAL_GROUP = re.compile(r"projects/[^/]+/regions/(?P<region>[^/]+)/instanceGroupManagers/(?P<group>[^/]+)")


@dataclass(frozen=True, slots=True)
class InstanceGroup:
    """A regional group, and the machine's place in it."""

    project: str
    region: str
    name: str
    instance: str
    """the machine, as the API names it: zones/<zone>/instances/<name>"""

    def remove_this_machine(self, least: int) -> bool:
        """Have the machine deleted, and the group smaller by one; False: then it would have less than `least` machines.

        Several that ask at the same moment may all go; the autoscaler brings some back. The machine ends within a
        minute or so, as every machine does: with a signal to its programs. Raises Unavailable if that is not accepted.
        """
        # They take more memory than all the rest of a worker, and are needed once.
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
            raise Unavailable("The machine could not be removed from its group.") from error
        if operation.error.errors:
            raise Unavailable(f"The machine was not removed from its group: {operation.error.errors[0].message}")
        return True


def own_instance_group() -> InstanceGroup | None:
    """None: this machine is in no such group, or is none of Google's."""
    created_by = _REGIONAL_GROUP.fullmatch(machine_metadata("instance/attributes/created-by") or "")
    if created_by is None:
        return None
    project, name, zone = map(machine_metadata, ("project/project-id", "instance/name", "instance/zone"))
    if not (project and name and zone):
        return None
    instance = f"zones/{zone.rpartition('/')[2]}/instances/{name}"
    return InstanceGroup(project, created_by["region"], created_by["group"], instance)
