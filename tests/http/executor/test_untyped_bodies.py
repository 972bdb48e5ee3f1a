"""Bodies of the executor API without the type application/json."""

from __future__ import annotations

import json
import uuid

import pytest
from http_server import Server

from functions.transport.request_body import MAX_FIELDS_BYTES

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize("headers", [FORM, {"Content-Type": "text/plain"}, {"Content-Type": "application/jsonp"}, {}])
@pytest.mark.parametrize("body", [b'{"labels": ["gpu"]}', b' \n{"labels": []}', b"{}"])
def test_an_object_without_its_type_is_rejected_by_create(server: Server, headers: dict[str, str], body: bytes) -> None:
    job = uuid.uuid4().hex
    response = server.send("POST", f"/rest/executor/create/{job}", body, headers)
    assert (response.status, response.text) == (
        415,
        "The body is a JSON object without its type; send it with the header Content-Type: application/json.",
    )
    assert server.get(f"/rest/executor/info/{job}").status == 404


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'["gpu"]', b"null", b'"x"', b"labels=gpu", b'{"labels"', b"{x}", b"\xff", b"{" + b" " * 9_000_000],
)
def test_every_other_body_counts_as_none(server: Server, body: bytes) -> None:
    job = uuid.uuid4().hex
    response = server.send("POST", f"/rest/executor/create/{job}", body, FORM)
    assert (response.status, response.json["labels"]) == (200, [])
    # Other tests' workers take any job without labels.
    assert server.post(f"/rest/executor/cancel/{job}", {"secret": response.json["secret"]}).status == 200


def test_an_object_with_parameters_in_its_type_is_read(server: Server) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    label = uuid.uuid4().hex
    body = json.dumps({"labels": [label]}).encode()
    response = server.send("POST", f"/rest/executor/create/{uuid.uuid4().hex}", body, headers)
    assert response.json["labels"] == [label]


def test_the_error_of_cancel_says_what_is_missing(server: Server) -> None:
    job = uuid.uuid4().hex
    secret = server.post(f"/rest/executor/create/{job}", {"labels": [uuid.uuid4().hex]}).json["secret"]
    path = f"/rest/executor/cancel/{job}"
    untyped = server.send("POST", path, json.dumps({"secret": secret}).encode(), FORM)
    none = server.send("POST", path, b"")
    wrong = server.post(path, {"secret": "wrong"})
    assert [response.status for response in (untyped, none, wrong)] == [403, 403, 403]
    assert untyped.text == (
        "The job's secret is missing: the body is a JSON object without its type; send it with the header "
        "Content-Type: application/json."
    )
    assert none.text == (
        'The job\'s secret is missing: send {"secret": …}, from the response to create, with the header Content-Type: '
        "application/json."
    )
    assert wrong.text == "The job's secret is wrong; only the response to the create that made the job has it."
    assert server.post(path, {"secret": secret}).status == 200


def test_a_body_that_is_too_large_for_an_object_is_not_read_as_one(server: Server) -> None:
    job = uuid.uuid4().hex
    body = b'{"labels": ["' + b"x" * (MAX_FIELDS_BYTES + 1) + b'"]}'
    response = server.send("POST", f"/rest/executor/create/{job}", body, FORM)
    assert response.status == 200
    assert server.post(f"/rest/executor/cancel/{job}", {"secret": response.json["secret"]}).status == 200
