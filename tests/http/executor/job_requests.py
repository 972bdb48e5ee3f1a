"""Requests about jobs that the tests of the executor API make."""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import quote

from http_server import Response, Server

NO_WORKER = {"labels": ["no worker has this"]}


def new_id() -> str:
    return uuid.uuid4().hex


def create(server: Server, job: str, body: object = NO_WORKER) -> Any:
    response = server.post(f"/rest/executor/create/{quote(job, safe='')}", body)
    assert response.status == 200, response
    return response.json


def info(server: Server, job: str) -> Any:
    return server.get(f"/rest/executor/info/{quote(job, safe='')}").json


def cancel(server: Server, job: str, secret: object) -> Response:
    return server.post(f"/rest/executor/cancel/{job}", {"secret": secret})


def update(server: Server, job: str, **fields: object) -> Response:
    return server.post(f"/rest/executor/update/{job}", fields)


def segments(server: Server, job: str, query: str = "") -> list[Any]:
    return list(server.get(f"/rest/executor/output/{quote(job, safe='')}{query}").json)
