"""Deleting jobs and blobs over HTTP: who may, when, and what is left."""

from __future__ import annotations

from pathlib import Path

from credentials import Callers
from flask.testing import FlaskClient
from in_process import open_client

from cloud_executor.model.access.caller import Role
from cloud_executor.settings import Settings

NONCE = {"x-executor-nonce": "long enough nonce"}
LABELS = {"labels": ["of-no-pool"]}


def finished_job(client: FlaskClient, job: str, headers: dict[str, str] | None = None) -> str:
    made = client.post(f"/rest/executor/create/{job}", json=LABELS, headers=headers)
    body = {"secret": made.get_json()["secret"]}
    assert client.post(f"/rest/executor/cancel/{job}", json=body, headers=headers).status_code == 200
    return f"/rest/executor/{job}"


def stored_blob(client: FlaskClient, headers: dict[str, str] | None = None) -> str:
    (blob,) = client.post("/rest/blob/createFile/a", data=b"x", headers=headers).get_json()
    return blob


def test_a_guest_deletes_finished_jobs_and_blobs_on_one_machine(tmp_path: Path) -> None:
    with open_client(tmp_path) as client:
        client.post("/rest/executor/create/waiting", json=LABELS)
        response = client.delete("/rest/executor/waiting")
        assert (response.status_code, response.text.endswith("before you delete it.")) == (409, True)
        path = finished_job(client, "done")
        assert [client.delete(path).status_code for _ in range(2)] == [200, 404]
        assert client.get("/rest/executor/info/done").status_code == 404
        assert client.get("/rest/executor/output/done").status_code == 404
        assert list(client.get("/rest/executor").get_json()) == ["waiting"]
        blob = stored_blob(client)
        assert [client.delete(f"/rest/blob/{blob}").status_code for _ in range(2)] == [200, 404]
        assert client.get(f"/rest/blob/view/{blob}").status_code == 404
        for wrong in ("x", "metadata", f"{blob}/x", "%00"):
            assert client.delete(f"/rest/blob/{wrong}").status_code in (400, 404)
        assert stored_blob(client) == blob
        assert client.get(f"/rest/blob/view/{blob}", buffered=True).data == b"x"


def test_the_operator_decides(tmp_path: Path) -> None:
    with open_client(tmp_path, allow_delete="no") as client:
        for path in (finished_job(client, "done"), f"/rest/blob/{stored_blob(client)}"):
            response = client.delete(path)
            assert (response.status_code, "EXECUTOR_ALLOW_DELETE=yes" in response.text) == (403, True)
        assert client.get("/rest/executor/info/done").status_code == 200
        assert client.delete("/rest/executor/worker").status_code == 404, "as in WebGME: it is not a job"
    assert Settings().allows_deletion
    assert not Settings(jobs="google").allows_deletion
    assert Settings(jobs="google", allow_delete=True).allows_deletion


def test_a_blob_of_a_server_with_a_nonce_needs_the_nonce(tmp_path: Path) -> None:
    with open_client(tmp_path, nonce=NONCE["x-executor-nonce"]) as client:
        blob = stored_blob(client)
        assert client.delete(f"/rest/blob/{blob}").status_code == 403
        assert client.delete(f"/rest/blob/{blob}", headers=NONCE).status_code == 200


def test_users_delete_their_own_jobs_and_administrators_everything(tmp_path: Path) -> None:
    with open_client(tmp_path, auth="token", nonce=NONCE["x-executor-nonce"]) as client:
        callers = Callers.of(tmp_path)
        ada, eve = dict(callers.headers("ada")), dict(callers.headers("eve"))
        root = dict(callers.headers("root", Role.ADMIN))
        path, blob = finished_job(client, "job", ada), f"/rest/blob/{stored_blob(client, ada)}"
        for headers in (eve, root):
            assert client.delete(path, headers=headers).status_code == 404
        assert client.delete(f"{path}?user=ada", headers=eve).status_code == 403
        for headers in (ada, dict(NONCE)):
            assert client.delete(blob, headers=headers).status_code == 403
        assert client.delete(path, headers=ada).status_code == 200
        finished_job(client, "job", ada)
        assert client.delete(f"{path}?user=ada", headers=root).status_code == 200
        assert client.delete(blob, headers=root).status_code == 200
        # A blob that another user stores again is theirs.
        stored_blob(client, eve)
        assert [len(client.get("/rest/blob/metadata?all=1", headers=user).get_json()) for user in (ada, eve)] == [0, 1]
