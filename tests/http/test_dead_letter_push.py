"""The function `dead_letter`: a push subscription delivers to it, and its caller must be the configured account."""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from emulators.projects import new_project
from flask.testing import FlaskClient
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from identity.identity_tokens import SIGNER, STRANGER, identity_issuer
from in_process import open_client
from servers.function_process import function

from cloud_executor import composition
from cloud_executor.backends.google.identity import IdentityTokens
from cloud_executor.composition import open_jobs
from cloud_executor.model.jobs.message import encode_message
from cloud_executor.settings import InvalidSetting, Settings

ACCOUNT, AUDIENCE = "push@project.iam.gserviceaccount.com", "our-dead-letter"
WAIT_SECONDS = 30.0


def pushed(job_hash: str) -> dict[str, object]:
    """The body with which Pub/Sub pushes a message."""
    data = base64.b64encode(encode_message(job_hash)).decode()
    return {"message": {"data": data, "messageId": "1", "attributes": {}}, "subscription": "projects/p/subscriptions/s"}


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlaskClient]:
    open_jobs(Settings(data=tmp_path)).clients.create("j")
    with identity_issuer() as issuer:
        monkeypatch.setattr(
            composition, "open_identity_tokens", lambda audience: IdentityTokens(audience, issuer.certificates)
        )
        with open_client(tmp_path, "dead_letter", push_account=ACCOUNT, push_audience=AUDIENCE) as opened:
            yield opened


def token(signer: Any = SIGNER, audience: str = AUDIENCE, **claims: Any) -> str:
    return "Bearer " + signer.token(audience, **{"email": ACCOUNT, "email_verified": True, **claims})


def dead_letters(folder: Path) -> int:
    return open_jobs(Settings(data=folder)).clients.get("j").dead_letters


def test_the_configured_account_delivers(client: FlaskClient, tmp_path: Path) -> None:
    response = client.post("/", json=pushed("j"), headers={"Authorization": token()})
    assert (response.status_code, response.data) == (204, b"")
    assert dead_letters(tmp_path) == 1


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic eDp5",
        "Bearer",
        token(audience="other"),
        token(email="other@project.iam.gserviceaccount.com"),
        token(email=None),
        token(email_verified=False),
        token(email_verified=None),
        token(STRANGER),
    ],
    ids=range(10),
)
def test_other_callers_are_rejected_and_change_nothing(
    client: FlaskClient, tmp_path: Path, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    response = client.post("/", json=pushed("j"), headers=headers)
    assert response.status_code == 403
    assert b"identity token" in response.data
    assert dead_letters(tmp_path) == 0


def test_only_posts_are_dead_letters(client: FlaskClient) -> None:
    assert client.get("/", headers={"Authorization": token()}).status_code == 404


@pytest.mark.parametrize("settings", [{}, {"push_account": ACCOUNT}, {"push_audience": AUDIENCE}])
def test_the_function_does_not_start_if_anyone_could_push(tmp_path: Path, settings: dict[str, str]) -> None:
    with (
        pytest.raises(InvalidSetting, match="EXECUTOR_PUSH_ACCOUNT and EXECUTOR_PUSH_AUDIENCE must be set"),
        open_client(tmp_path, "dead_letter", **settings),
    ):
        pass


def test_a_push_subscription_of_the_emulator_delivers(pubsub: str, tmp_path: Path) -> None:
    """The emulator sends no token."""
    jobs = open_jobs(Settings(data=tmp_path / "data"))
    jobs.clients.create("j")
    settings = {"EXECUTOR_DATA": str(tmp_path / "data"), "EXECUTOR_PUSH_UNVERIFIED": "true"}
    with function(Path(sys.executable).parent, "dead_letter", settings) as running:
        project = new_project()
        topic = f"projects/{project}/topics/dead-letter"
        publisher, subscriber = PublisherClient(), SubscriberClient()
        publisher.create_topic(name=topic)
        subscriber.create_subscription(
            name=f"projects/{project}/subscriptions/dead-letter",
            topic=topic,
            push_config={"push_endpoint": str(running.base_url)},
        )
        publisher.publish(topic, b"not a message").result(WAIT_SECONDS)
        publisher.publish(topic, encode_message("j")).result(WAIT_SECONDS)
        end = time.monotonic() + WAIT_SECONDS
        while jobs.clients.get("j").dead_letters == 0:
            assert time.monotonic() < end
            time.sleep(0.05)
        subscriber.delete_subscription(subscription=f"projects/{project}/subscriptions/dead-letter")
    assert jobs.clients.get("j").dead_letters == 1
