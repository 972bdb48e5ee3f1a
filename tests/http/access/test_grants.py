"""Which contents users may name by their hashes, and which blobs they list."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from credentials import Callers, Headers
from direct_store import DirectFileStore
from flask.testing import FlaskClient
from in_process import open_client
from werkzeug.test import TestResponse

from cloud_executor.blobs.store import BlobStore
from cloud_executor.composition import open_collector, open_grant_store
from cloud_executor.model.access.caller import Role
from cloud_executor.settings import Settings

NONCE = {"x-executor-nonce": "long enough nonce"}
CONTENT = b"the content of ada"
SHA1 = hashlib.sha1(CONTENT).hexdigest()
ABSENT = "0" * 40


class Api:
    """The blob API, for one caller."""

    def __init__(self, client: FlaskClient, store: DirectFileStore, headers: Headers) -> None:
        self._client = client
        self._store = store
        self._headers = headers

    def get(self, path: str) -> TestResponse:
        with self._client.get(f"/rest/blob/{path}", headers=self._headers) as response:
            response.get_data()
            return response

    def post(self, path: str, fields: object = None) -> TestResponse:
        return self._client.post(f"/rest/blob/{path}", data=json.dumps(fields), headers=self._headers)

    def delete(self, blob_hash: str) -> TestResponse:
        return self._client.delete(f"/rest/blob/{blob_hash}", headers=self._headers)

    def create_file(self, content: bytes = CONTENT, name: str = "a.txt") -> str:
        return self.hash_in(self._client.post(f"/rest/blob/createFile/{name}", data=content, headers=self._headers))

    def create_metadata(self, content_hash: str, kind: str = "object", query: str = "") -> TestResponse:
        return self.post(f"createMetadata{query}", {"name": "m.txt", "content": content_hash, "contentType": kind})

    def create_artifact(self, query: str = "", **files: tuple[str, str]) -> TestResponse:
        content = {path: {"content": found, "contentType": kind} for path, (found, kind) in files.items()}
        return self.post(f"createMetadata{query}", {"name": "a.zip", "content": content, "contentType": "complex"})

    def missing(self, *contents: str) -> list[str]:
        found: list[str] = self.post("missing", {"contents": contents}).get_json()["missing"]
        return found

    def begin(self, sha1: str | None = SHA1) -> TestResponse:
        return self.post("uploads", {"name": "a.txt", "size": len(CONTENT), "sha1": sha1})

    def send(self, begun: TestResponse) -> str:
        """Send the bytes of an upload; its id."""
        self._store.send(begun.get_json()["url"], CONTENT)
        return str(begun.get_json()["id"])

    def listed(self) -> set[str]:
        return set(self.get("metadata?all=1").get_json())

    @staticmethod
    def hash_in(response: TestResponse) -> str:
        assert response.status_code == 200, response.text
        (found,) = response.get_json()
        return str(found)


OpenApi = Callable[..., Api]


@pytest.fixture
def open_api(tmp_path: Path) -> Iterator[OpenApi]:
    store = DirectFileStore(tmp_path / "blobs")
    blobs = BlobStore(store, lambda: datetime.now(UTC), store)
    with open_client(tmp_path, blobs=blobs, auth="token", nonce=NONCE["x-executor-nonce"]) as client:
        callers = Callers.of(tmp_path)

        def opened(user: str, role: Role = Role.USER) -> Api:
            return Api(client, store, NONCE if user == "guest" else callers.headers(user, role))

        yield opened


def create_file(api: Api) -> None:
    api.create_file()


def upload(api: Api) -> None:
    api.hash_in(api.post(f"uploads/{api.send(api.begin(None))}/complete"))


WITH_GRANT: dict[str, tuple[str, Role, Callable[[Api], Any] | None]] = {
    "a user who sent the file": ("ada", Role.USER, create_file),
    "a user who completed an upload": ("ada", Role.USER, upload),
    "a worker of that user": ("ada", Role.WORKER, create_file),
    "an administrator": ("root", Role.ADMIN, None),
    "a guest": ("guest", Role.USER, None),
}
WITHOUT_GRANT = {
    "another user": ("bob", Role.USER),
    "another user's worker": ("bob", Role.WORKER),
}


@pytest.mark.parametrize("who", WITH_GRANT)
def test_callers_with_a_grant_may_name_the_content(open_api: OpenApi, who: str) -> None:
    user, role, get_grant = WITH_GRANT[who]
    open_api("eve").create_file()
    caller = open_api(user, role)
    if get_grant is not None:
        get_grant(caller)
    assert caller.missing(SHA1, ABSENT) == [ABSENT]
    assert caller.begin().status_code == 200
    assert caller.create_metadata(SHA1).status_code == 200
    assert caller.create_artifact(file=(SHA1, "object")).status_code == 200


@pytest.mark.parametrize("who", WITHOUT_GRANT)
@pytest.mark.parametrize("is_stored", [True, False])
def test_to_callers_without_a_grant_the_content_does_not_exist(open_api: OpenApi, who: str, is_stored: bool) -> None:
    """The responses are those to a content that is not stored."""
    caller = open_api(*WITHOUT_GRANT[who])
    if is_stored:
        open_api("ada").create_file()
    assert caller.missing(SHA1, ABSENT) == [SHA1, ABSENT]
    assert caller.begin().status_code == 201
    one, artifact = caller.create_metadata(SHA1), caller.create_artifact(file=(SHA1, "object"), b=(SHA1, "object"))
    for response in (one, artifact, caller.create_metadata(SHA1, "unknown")):
        assert response.status_code == 404
        assert "is not stored. Upload it first." in response.text
    assert one.text.replace(SHA1, ABSENT) == caller.create_metadata(ABSENT).text
    assert caller.listed() == set()
    # Sending the bytes makes them the caller's, too.
    upload_id = caller.send(caller.begin())
    assert caller.post(f"uploads/{upload_id}/complete").status_code == 200
    assert caller.create_metadata(SHA1).status_code == 200


def test_a_blob_whose_hash_is_known_can_be_read_linked_and_shared(open_api: OpenApi) -> None:
    ada, bob = open_api("ada"), open_api("bob")
    file = ada.create_file()
    artifact = ada.hash_in(ada.create_artifact(file=(SHA1, "object")))
    assert bob.get(f"view/{file}").data == CONTENT
    assert bob.get(f"metadata/{artifact}").status_code == 200
    linked = bob.hash_in(bob.create_artifact(link=(file, "softLink"), absent=(ABSENT, "softLink")))
    assert bob.get(f"view/{linked}/link").data == CONTENT
    assert bob.create_metadata(file, "softLink").status_code == 200
    for shared in (file, artifact):
        made = bob.hash_in(bob.create_artifact(f"?from={shared}", mine=(SHA1, "object")))
        assert bob.get(f"view/{made}/mine").data == CONTENT
    assert bob.create_artifact(f"?from={file}", mine=(ABSENT, "object")).status_code == 404
    assert bob.create_artifact(f"?from={SHA1}", mine=(SHA1, "object")).status_code == 404
    assert bob.create_artifact("?" + f"from={file}&" * 101, mine=(SHA1, "object")).status_code == 400
    assert bob.missing(SHA1) == [SHA1]


def test_only_the_user_who_began_an_upload_completes_it(open_api: OpenApi) -> None:
    ada, bob = open_api("ada"), open_api("bob")
    upload_id = ada.send(ada.begin())
    for _ in range(2):
        for other in (bob, open_api("guest"), open_api("root", Role.ADMIN)):
            assert other.post(f"uploads/{upload_id}/complete").status_code == 404
        assert ada.post(f"uploads/{upload_id}/complete").status_code == 200
    assert bob.missing(SHA1) == [SHA1]


def test_lists_have_public_blobs_and_ones_own(open_api: OpenApi) -> None:
    ada, bob, root = open_api("ada"), open_api("bob"), open_api("root", Role.ADMIN)
    adas = {ada.create_file(), ada.hash_in(ada.create_artifact(file=(SHA1, "object")))}
    bobs = {bob.create_file(name="other-name.txt")}
    guests = {open_api("guest").create_file(b"of a guest")}
    document = {"name": "public", "content": SHA1, "isPublic": True}
    public = {ada.hash_in(ada.post("createMetadata", document))}
    assert ada.listed() == adas | public
    assert bob.listed() == bobs | public
    assert open_api("eve").listed() == open_api("guest").listed() == public
    assert root.listed() == adas | bobs | guests | public
    assert set(ada.get("metadata").get_json()) == public


def test_a_deleted_blob_is_nobodys(open_api: OpenApi) -> None:
    ada = open_api("ada")
    blob = ada.create_file()
    assert open_api("root", Role.ADMIN).delete(blob).status_code == 200
    assert ada.listed() == set()
    assert ada.missing(SHA1) == []  # the bytes stay
    assert open_api("bob").create_file() == blob
    assert ada.listed() == set()


def test_the_deletion_of_old_data_forgets_grants_without_the_settings_of_users(tmp_path: Path) -> None:
    """Only the functions that serve the API know how callers identify themselves."""
    settings = Settings(data=tmp_path)
    store = open_grant_store(settings)
    store.grant("ada", {SHA1: 1})
    open_collector(settings).forget(SHA1)
    assert store.granted("ada", [SHA1]) == frozenset()


def test_a_server_without_users_keeps_no_grants(tmp_path: Path) -> None:
    with open_client(tmp_path) as client:
        api = Api(client, DirectFileStore(tmp_path / "other"), {})
        api.create_file()
        assert api.missing(SHA1) == []
        assert api.create_metadata(ABSENT).status_code == 200
        assert len(api.listed()) == 2
    assert not (tmp_path / "executor.sqlite").exists()
