"""The instance groups of the worker pools, against a stand-in for the Compute API."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

import pytest
from google.auth.credentials import AnonymousCredentials
from servers.compute_service import INSTANCES, ComputeService, compute_service

from cloud_executor.backends.google.instance_groups import InstanceGroups
from cloud_executor.errors import NotFound, Unavailable


@pytest.fixture
def service() -> Iterator[ComputeService]:
    with compute_service() as found:
        yield found


def groups_of(service: ComputeService, least: int = 0) -> InstanceGroups:
    return InstanceGroups(
        "our-project",
        "us-central1",
        "our",
        {"default": least},
        api=service.url,
        credentials=AnonymousCredentials(),
    )


def test_a_group_grows_by_its_autoscalers_minimum_which_is_then_lowered(service: ComputeService) -> None:
    groups = groups_of(service)
    groups.ensure("default", 3)
    assert (service.minimums, service.size) == ([3], 3)
    groups.ensure("default", 3)
    assert (service.minimums, service.size) == ([3, 0], 3)
    groups.ensure("default", 3)
    groups.ensure("default", 2)
    assert (service.minimums, service.size) == ([3, 0], 3)


def test_a_raised_minimum_stays_until_the_group_has_grown(service: ComputeService) -> None:
    service.slow = True
    groups = groups_of(service)
    for wanted in (2, 2, 1, 0):
        groups.ensure("default", wanted)
    assert service.minimums == [2]
    service.size = 2
    groups.ensure("default", 0)
    assert service.minimums == [2, 0]


def test_the_autoscalers_maximum_bounds_the_group(service: ComputeService) -> None:
    groups = groups_of(service)
    for _ in range(3):
        groups.ensure("default", 99)
    assert (service.minimums, service.size) == ([10, 0], 10)


def test_a_group_keeps_its_least_size(service: ComputeService) -> None:
    service.minimum = service.size = 2
    groups = groups_of(service, least=2)
    for wanted in (0, 1, 2):
        groups.ensure("default", wanted)
    assert (service.minimums, service.calls) == ([], 3)
    groups.ensure("default", 4)
    groups.ensure("default", 4)
    assert (service.minimums, service.size) == ([4, 2], 4)


@pytest.mark.parametrize(
    "refusal",
    [
        (HTTPStatus.FORBIDDEN, {"error": {"code": 403, "message": "Required 'compute.autoscalers.update' permission"}}),
        (HTTPStatus.OK, {"error": {"errors": [{"message": "Required 'compute.autoscalers.update' permission"}]}}),
    ],
)
def test_a_refusal_is_unavailable_and_says_why(
    service: ComputeService, refusal: tuple[HTTPStatus, dict[str, object]]
) -> None:
    service.refusal = refusal
    with pytest.raises(Unavailable, match=r"^The instance groups cannot be managed: Required 'compute"):
        groups_of(service).ensure("default", 1)


def test_an_error_without_a_message_is_unavailable(service: ComputeService) -> None:
    service.refusal = HTTPStatus.BAD_GATEWAY, {}
    with pytest.raises(Unavailable, match="status 502"):
        groups_of(service).ensure("default", 1)


def test_an_unreachable_service_is_unavailable(service: ComputeService) -> None:
    service.url = "http://127.0.0.1:1"
    with pytest.raises(Unavailable):
        groups_of(service).ensure("default", 1)


# Removing a VM -------------------------------------------------------------------------------------------------------


def vm(name: str) -> str:
    return f"{INSTANCES}/us-central1-b/instances/{name}"


def test_a_member_is_removed_by_its_id(service: ComputeService) -> None:
    service.members = {str(number): vm(f"our-default-{number}") for number in range(5)}
    service.size, service.page_size = 5, 2
    assert groups_of(service).remove("default", "4")
    assert (service.deleted, service.size) == ([vm("our-default-4")], 4)


def test_a_vm_that_is_no_member_cannot_be_removed(service: ComputeService) -> None:
    service.members = {"1": vm("our-default-1")}
    with pytest.raises(NotFound):
        groups_of(service).remove("default", "2")
    assert service.deleted == []


def test_the_least_size_of_the_group_is_kept(service: ComputeService) -> None:
    service.members = {"1": vm("our-default-1")}
    service.size = service.minimum = 1
    assert not groups_of(service, least=1).remove("default", "1")
    service.size = 2
    assert groups_of(service, least=1).remove("default", "1")
    assert (service.deleted, service.minimums) == ([vm("our-default-1")], [])


def test_a_raised_minimum_is_lowered_first_so_that_the_vm_is_not_replaced(service: ComputeService) -> None:
    service.members = {"1": vm("our-default-1")}
    service.size = service.minimum = 1
    assert groups_of(service).remove("default", "1")
    assert (service.minimums, service.size) == ([0], 0)
