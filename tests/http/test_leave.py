"""`POST /leave` of the function `sweep`: an idle worker's VM is deleted, and only that one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from google.auth.credentials import AnonymousCredentials
from identity.identity_tokens import SIGNER, STRANGER, identity_issuer
from in_process import open_client
from servers.compute_service import INSTANCES, ComputeService, compute_service
from servers.running import running
from werkzeug.serving import make_server

from cloud_executor import composition
from cloud_executor.backends.google.identity import IdentityTokens
from cloud_executor.backends.google.instance_groups import InstanceGroups
from cloud_executor.composition import open_jobs
from cloud_executor.settings import Settings
from worker_vm.worker.machine import leave
from worker_vm.worker.machine.leave import SweepService

AUDIENCE = "https://cloud-executor.invalid/our-project/our/leave"
MACHINE = {"instance_id": "7", "instance_name": "our-default-x", "project_id": "our-project", "zone": "us-central1-b"}
VM = f"{INSTANCES}/us-central1-b/instances/our-default-x"
SETTINGS = {
    "JOBS": "google",  # in capitals, because `jobs` is a parameter of open_client
    "objects": "gcs",
    "bucket": "our-bucket",
    "project": "our-project",
    "topic_prefix": "our",
    "worker_region": "us-central1",
}


@dataclass
class Function:
    client: FlaskClient
    compute: ComputeService


@pytest.fixture
def function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Function]:
    jobs = open_jobs(Settings(data=tmp_path))
    with compute_service() as compute, identity_issuer() as issuer:
        compute.members = {"6": f"{INSTANCES}/us-central1-b/instances/our-default-w", "7": VM}
        compute.size = 2
        groups = InstanceGroups(
            "our-project",
            "us-central1",
            "our",
            {"default": 0},
            api=compute.url,
            credentials=AnonymousCredentials(),
        )
        monkeypatch.setattr(composition, "open_instance_groups", lambda _: groups)
        monkeypatch.setattr(
            composition, "open_identity_tokens", lambda audience: IdentityTokens(audience, issuer.certificates)
        )
        with open_client(tmp_path, "sweep", jobs=jobs, **SETTINGS) as client:
            yield Function(client, compute)


def token(machine: object = MACHINE, signer: Any = SIGNER, audience: str = AUDIENCE) -> str:
    return signer.token(audience, google={"compute_engine": machine})


def post(function: Function, authorization: str | None, pool: object = "default") -> Any:
    headers = {} if authorization is None else {"Authorization": f"Bearer {authorization}"}
    return function.client.post("/leave", json={"pool": pool}, headers=headers)


def test_a_machine_is_deleted_and_its_group_shrinks(function: Function) -> None:
    response = post(function, token())
    assert (response.status_code, response.json) == (200, {"leaving": True})
    assert (function.compute.deleted, function.compute.size) == ([VM], 1)


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 403),
        (token(signer=STRANGER), 403),
        (token(audience="https://cloud-executor.invalid/our-project/other/leave"), 403),
        (token({**MACHINE, "project_id": "other"}), 403),
        (token({**MACHINE, "zone": "europe-west1-b"}), 403),
        (token({**MACHINE, "zone": "us-central10-b"}), 403),
        (token({**MACHINE, "instance_id": ""}), 403),
        (token(None), 403),
        (SIGNER.token(AUDIENCE, email="worker@our-project.iam.gserviceaccount.com"), 403),
        (token({**MACHINE, "instance_id": "8"}), 404),
    ],
    ids=range(10),
)
def test_other_callers_delete_nothing(function: Function, authorization: str | None, status: int) -> None:
    assert post(function, authorization).status_code == status
    assert function.compute.deleted == []


@pytest.mark.parametrize(
    ("pool", "status"), [("other", 404), ("../default", 404), ("", 404), (None, 400), (["default"], 400)]
)
def test_the_pool_must_be_the_machines_own(function: Function, pool: object, status: int) -> None:
    assert post(function, token(), pool).status_code == status
    assert function.compute.deleted == []


def test_only_posts_leave_and_other_paths_sweep(function: Function) -> None:
    assert function.client.get("/leave").status_code == 404
    assert "republished" in function.client.post("/").json
    assert "republished" in function.client.post("/leave/now").json


def test_without_instance_groups_leaving_is_not_a_sweep(tmp_path: Path) -> None:
    with open_client(tmp_path, "sweep") as client:
        response = client.post("/leave", json={"pool": "default"})
        assert response.status_code == 404
        assert b"EXECUTOR_WORKER_REGION" in response.data


def test_a_worker_leaves_through_the_function(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's own code, over a connection, with tokens from its metadata server."""

    def identity(path: str) -> str | None:
        return token() if "cloud-executor.invalid" in path else "for the platform"

    monkeypatch.setattr(leave, "machine_metadata", identity)
    server = make_server("127.0.0.1", 0, function.client.application, threaded=True)
    with running(server) as address:
        assert SweepService(f"http://{address}", AUDIENCE).remove_this_machine("default")
    assert function.compute.deleted == [VM]
