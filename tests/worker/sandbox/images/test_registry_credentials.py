"""Test which registries get the machine's token."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from google_machine import google_machine

from worker_vm.worker.sandbox.container.registry_credentials import credentials_for

TOKEN = {"username": "oauth2accesstoken", "password": "token of the machine"}


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with google_machine() as machine:
        answer = json.dumps({"access_token": TOKEN["password"], "expires_in": 3599, "token_type": "Bearer"})
        machine.metadata["instance/service-accounts/default/token"] = answer
        monkeypatch.setenv("GCE_METADATA_HOST", machine.address)
        yield


@pytest.mark.parametrize(
    "image",
    [
        "gcr.io/project/image",
        "eu.gcr.io/project/image:tag",
        "mirror.gcr.io/library/python:3.12",
        "us-central1-docker.pkg.dev/project/repository/image@sha256:" + "0" * 64,
        "europe-docker.pkg.dev/project/repository/image",
        "gcr.io:443/project/image",
        "US-Docker.pkg.dev/project/repository/image",
    ],
)
def test_google_registries_get_the_token(image: str) -> None:
    assert credentials_for(image) == TOKEN


@pytest.mark.parametrize(
    "image",
    [
        "evilgcr.io/project/image",
        "evil-gcr.io/project/image",
        "gcr.io.evil.example/project/image",
        "us-docker.pkg.dev.evil.example/project/image",
        "evildocker.pkg.dev/project/image",
        "evil.example/gcr.io/project/image",
        "evil.example/us-docker.pkg.dev/project/image",
        "evil.example:443/gcr.io/image",
        "gcr.io:443@evil.example/project/image",
        "evil.example@eu.gcr.io/project/image",
        "evil.example#.gcr.io/project/image",
        "evil.example:gcr.io/image",
        "gcr.io:password/image",
        "https://gcr.io/project/image",
        "-docker.pkg.dev/project/image",
        # Without a slash, they are Docker Hub images; a first part without a dot is a Docker Hub user.
        "gcr.io",
        "eu.gcr.io:tag",
        "us-docker.pkg.dev",
        "gcr/project",
        "localhost/gcr.io/image",
        "python:3.12",
        "",
    ],
)
def test_other_registries_do_not_get_the_token(image: str) -> None:
    assert credentials_for(image) is None
