"""Names and tags of jobs."""

from __future__ import annotations

import pytest
from http_server import Server
from job_requests import NO_WORKER, create, info, new_id, update


def test_a_job_can_have_a_name_and_tags(server: Server) -> None:
    job = new_id()
    named = {**NO_WORKER, "name": "Größe 1", "tags": ["sweep", "a b"]}
    created = create(server, job, named)
    assert {**NO_WORKER, "name": created["name"], "tags": created["tags"]} == named
    assert {"name": "Größe 1", "tags": ["sweep", "a b"]}.items() <= info(server, job).items()
    assert create(server, job, {**NO_WORKER, "name": "other"})["name"] == "Größe 1"
    # A job without them has the document that it always had.
    assert create(server, new_id(), {**NO_WORKER, "name": "", "tags": []}).keys().isdisjoint({"name", "tags"})


def test_a_rerun_keeps_the_name_and_the_tags_unless_it_has_others(server: Server) -> None:
    job = new_id()
    create(server, job, {**NO_WORKER, "name": "first", "tags": ["a"]})
    for body, name, tags in (
        ({}, "first", ["a"]),
        ({"name": "second"}, "second", ["a"]),
        ({"tags": ["b"]}, "second", ["b"]),
    ):
        update(server, job, status="SUCCESS", worker="w")
        again = server.post(f"/rest/executor/create/{job}?rerun=true", body).json
        assert (again["status"], again["name"], again["tags"]) == ("CREATED", name, tags)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"name": 5}, "name must be a string."),
        ({"name": "x" * 257}, "name must not have more than 256 characters."),
        ({"name": "\ud83d"}, "name must not contain lone surrogates."),
        ({"tags": "a"}, "tags must be a list of strings."),
        ({"tags": [1]}, "tags must be a list of strings."),
        ({"tags": ["a"] * 65}, "tags must not have more than 64 elements."),
        ({"tags": ["x" * 257]}, "Each element of tags must not have more than 256 characters."),
    ],
    ids=range(7),
)
def test_an_invalid_name_or_tag_is_400(server: Server, body: object, message: str) -> None:
    job = new_id()
    response = server.post(f"/rest/executor/create/{job}", body)
    assert (response.status, response.text) == (400, message)
    assert server.get(f"/rest/executor/info/{job}").status == 404
