"""Pages of jobs: filters, order, fields, and the address of the next page."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest
from http_server import TIMEOUT_SECONDS, Server, StartServer
from job_requests import NO_WORKER, create, info, new_id, update


@pytest.fixture(scope="module")
def tag() -> str:
    return new_id()


@pytest.fixture(scope="module")
def jobs(server: Server, tag: str) -> list[str]:
    """Jobs that only this module's tag has, oldest first."""
    found = [new_id() for _ in range(6)]
    for number, job in enumerate(found):
        labels = [*NO_WORKER["labels"], f"{tag} even"] if number % 2 == 0 else NO_WORKER["labels"]
        time.sleep(0.002)  # Jobs of the same millisecond are ordered by their ids.
        create(server, job, {"labels": labels, "name": f"{tag} sweep-{number}", "tags": [tag]})
    update(server, found[1], worker=f"{tag} worker", status="RUNNING")
    update(server, found[2], worker=f"{tag} worker", status="SUCCESS")
    return found


def pages(server: Server, query: str) -> Iterator[dict[str, Any]]:
    path = f"/rest/executor/?{query}"
    while path:
        response = server.get(path)
        assert response.status == 200, response.text
        yield response.json
        link = re.fullmatch('<(.+)>; rel="next"', response["Link"] or "")
        path = link[1] if link else ""


def listed(server: Server, query: str) -> list[str]:
    return [job for page in pages(server, query) for job in page]


@pytest.mark.parametrize("limit", [2, 1000])
def test_conditions_can_be_combined(server: Server, jobs: list[str], tag: str, limit: int) -> None:
    mine = f"limit={limit}&tag={tag}"
    assert listed(server, mine) == jobs
    assert listed(server, f"{mine}&order=oldest") == jobs
    assert listed(server, f"{mine}&order=newest") == jobs[::-1]
    assert listed(server, f"{mine}&status=RUNNING") == [jobs[1]]
    assert listed(server, f"{mine}&status=RUNNING&status=SUCCESS&order=newest") == [jobs[2], jobs[1]]
    assert listed(server, f"limit={limit}&label={tag}%20even") == jobs[::2]
    assert listed(server, f"{mine}&status=CREATED&label={tag}%20even") == jobs[::4]
    assert listed(server, f"limit={limit}&name={tag}%20sweep-") == jobs
    assert listed(server, f"limit={limit}&name={tag}%20sweep-3") == [jobs[3]]
    assert listed(server, f"limit={limit}&worker={tag}%20worker") == jobs[1:3]
    assert listed(server, f"{mine}&status=NONE") == []


def test_jobs_are_found_by_their_time(server: Server, jobs: list[str], tag: str) -> None:
    times = [info(server, job)["createTime"] for job in jobs]
    mine = f"limit=2&tag={tag}"
    later = [job for job, time in zip(jobs, times, strict=True) if time >= times[3]]
    assert listed(server, f"{mine}&created_after={times[3]}") == later
    assert listed(server, f"{mine}&created_before={times[3]}") == [job for job in jobs if job not in later]
    assert listed(server, f"{mine}&created_after={times[3]}&created_before={times[3]}") == []
    elsewhere = datetime.fromisoformat(times[0]) + timedelta(hours=5, minutes=30)
    local = quote(f"{elsewhere.replace(tzinfo=None).isoformat()}+05:30")
    assert listed(server, f"{mine}&created_after={local}&order=newest") == jobs[::-1]
    assert listed(server, f"{mine}&created_before={local}") == []
    assert listed(server, f"{mine}&created_before=2026-01-31") == []


def test_a_list_has_the_wanted_fields(server: Server, jobs: list[str], tag: str) -> None:
    (page,) = pages(server, f"limit=9&tag={tag}&fields=status,name,exitCode")
    assert page[jobs[1]] == {"status": "RUNNING", "name": f"{tag} sweep-1"}
    assert all(document.keys() == {"status", "name"} for document in page.values())
    (page,) = pages(server, f"limit=9&tag={tag}&fields=")
    assert page[jobs[1]] == info(server, jobs[1])


def test_the_next_page_has_the_same_parameters(server: Server, jobs: list[str], tag: str) -> None:
    query = f"tag={tag}&status=CREATED&status=RUNNING&order=newest&fields=name&other=ignored&limit=2&label="
    link = server.get(f"/rest/executor?{query}")["Link"] or ""
    found = parse_qsl(link[1 : link.index(">")].partition("?")[2])
    after = found.pop()
    assert found == [*parse_qsl(query)[:5], ("limit", "2")]
    assert after[0] == "after"


def test_without_a_limit_only_the_status_counts(server: Server, jobs: list[str]) -> None:
    found = server.get("/rest/executor/?status=RUNNING&status=SUCCESS&label=none&order=newest&fields=name").json
    assert found[jobs[1]] == info(server, jobs[1])
    assert jobs[2] not in found


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("order=up", "order must be oldest or newest."),
        ("created_after=yesterday", "created_after must be a time such as 2026-01-31T12:00:00Z."),
        ("created_before=2026-13-01", "created_before must be a time such as 2026-01-31T12:00:00Z."),
        ("created_after=0001-01-01T00:00:00%2B05:00", "created_after must be a time such as 2026-01-31T12:00:00Z."),
        ("fields=status,nme", "fields must be names of a job's fields, separated by commas; 'nme' is not one."),
        ("fields=secret", "fields must be names of a job's fields, separated by commas; 'secret' is not one."),
        ("&".join(f"status={number}" for number in range(17)), "status must not be given more than 16 times."),
        ("after=x", "after must be a page token from an earlier response."),
    ],
    ids=range(8),
)
def test_an_invalid_parameter_is_400(server: Server, query: str, message: str) -> None:
    response = server.get(f"/rest/executor/?limit=5&{query}")
    assert (response.status, response.text) == (400, message)


def test_the_stats_count_jobs_by_status_and_pool(start_server: StartServer) -> None:
    server = start_server(pools='[{"name": "p", "labels": ["x"]}]', external_workers="true")
    running, waiting = new_id(), new_id()
    for job in (running, waiting):
        create(server, job, {"labels": ["x"]})
    update(server, running, worker="w", status="RUNNING")
    create(server, new_id())
    found = server.get("/rest/executor/stats").json
    age = found["pools"]["p"].pop("oldestWaitingSeconds")
    assert 0 <= age < TIMEOUT_SECONDS
    assert found == {
        "jobs": {"CREATED": 2, "RUNNING": 1},
        "pools": {"p": {"waiting": 1, "running": 1, "slots": 0, "workers": 0}},
        "bytesStored": None,
        "bytesStoredAt": None,
    }
