"""The list of jobs: filters, live updates, pages, and bulk actions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Route
from stack_process import StackProcess, job_folder, until

from .browser_page import DashboardPage

NONCE_ERROR = "The header x-executor-nonce is missing or wrong; set it to the server's nonce."


@pytest.fixture
def api(dashboard_stack: StackProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{dashboard_stack.url}/rest/executor", trust_env=False, timeout=30) as client:
        yield client


def create(api: httpx.Client, job_id: str, label: str) -> str:
    """Create a job that waits for an external worker, and return its secret."""
    created = api.post(f"/create/{job_id}", json={"labels": [label]}).raise_for_status()
    secret: str = created.json()["secret"]
    return secret


def shown(page: DashboardPage) -> list[str]:
    return page.tab.locator("td.title").all_inner_texts()


def test_new_jobs_appear_and_filters_combine_in_the_address(page: DashboardPage, api: httpx.Client) -> None:
    create(api, "list-old", "list")
    page.open("jobs?label=list")
    page.wait("td.title", "list-old")
    create(api, "list-new", "list")
    page.wait("td.title", "list-new")
    assert shown(page) == ["list-new", "list-old"]
    page.button("Waiting").click()
    page.button("Canceled").click()
    page.tab.wait_for_url("**/#/jobs?status=waiting&status=canceled&label=list")
    page.wait("td.title", "list-new")
    page.button("Waiting").click()
    page.wait(".empty", "No job matches")
    page.button("Canceled").click()
    page.button("Waiting").click()
    page.tab.reload()
    page.wait("td.title", "list-new")
    assert page.button("Waiting").get_attribute("aria-pressed") == "true"
    assert page.button("Failed").get_attribute("aria-pressed") == "false"
    page.tab.get_by_label("Created").select_option("1h")
    page.wait("td.title", "list-old")
    assert "since=1h" in page.tab.url
    page.button("Clear").click()
    page.tab.wait_for_url("**/#/jobs")


def test_a_search_finds_a_job_by_its_id(page: DashboardPage, api: httpx.Client) -> None:
    create(api, "an id that is not a hash", "search")
    create(api, "0123456789" * 4, "search")
    page.open("jobs")
    for text in ("an id that is not a hash", "0123456789" * 4):
        page.tab.get_by_label("Name prefix or id").fill(text)
        page.wait("td.title", text[:10])
        page.until("document.querySelectorAll('td.title').length === 1")
    page.tab.get_by_label("Name prefix or id").fill("no such job")
    page.wait(".empty", "No job matches")


def test_pages_are_requested_from_the_server(page: DashboardPage) -> None:
    def answer(route: Route) -> None:
        after = int(httpx.URL(route.request.url).params.get("after", "0"))
        jobs = {
            f"job-{number}": {"status": "SUCCESS", "name": f"job {number}", "createTime": None}
            for number in range(after, after + 50)
        }
        link = f'</rest/executor/?limit=50&order=newest&after={after + 50}>; rel="next"'
        route.fulfill(headers={"Link": link, "Content-Type": "application/json"}, body=json.dumps(jobs))

    page.tab.route("**/rest/executor/?*", answer)
    page.open("jobs")
    page.wait("td.title", "job 0")
    page.button("Next").click()
    page.wait("td.title", "job 50")
    page.tab.reload()
    page.wait("td.title", "job 50")
    page.button("Newest").click()
    page.wait("td.title", "job 0")
    assert len(shown(page)) == 50


def test_selected_jobs_are_canceled_with_the_secrets_of_this_browser(page: DashboardPage, api: httpx.Client) -> None:
    secrets = {job_id: create(api, job_id, "bulk") for job_id in ("bulk-1", "bulk-2", "bulk-foreign")}
    page.open("jobs?label=bulk")
    own = [[job_id, secret] for job_id, secret in secrets.items() if job_id != "bulk-foreign"]
    page.tab.evaluate("(own) => localStorage.setItem('executor-secrets', own)", json.dumps(own))
    page.wait("td.title", "bulk-1")
    page.tab.get_by_label("Select all jobs on this page").check()
    page.wait(".bulk", "1 job cannot be canceled here")
    page.button("Cancel").click()
    page.wait("dialog h2", "Cancel 2 jobs?")
    page.button("Cancel jobs").click()
    until(
        lambda: (
            [api.get(f"/info/{job_id}").json()["status"] for job_id in secrets] == ["CANCELED", "CANCELED", "CREATED"]
        )
    )
    page.until("document.querySelectorAll('.status.canceled').length === 2")


def test_selected_jobs_run_again(
    page: DashboardPage, api: httpx.Client, dashboard_stack: StackProcess, tmp_path: Path
) -> None:
    with dashboard_stack.client as client:
        job = client.wait(
            client.create_job(client.upload_folder(job_folder(tmp_path / "again", "echo again"))).hash, 30
        )
    page.open(f"jobs?q={job.hash}")
    page.tab.get_by_label(f"Select the job {job.hash[:10]}").check()
    page.button("Run again").click()
    page.tab.locator("dialog").get_by_role("button", name="Run again").click()

    def ran_again() -> bool:
        found = api.get(f"/info/{job.hash}").json()
        return bool(found["createTime"] > job.create_time and found["status"] == "SUCCESS")

    until(ran_again)
    page.until("document.querySelector('dialog') === null")


def test_requests_stop_in_a_hidden_tab(page_with_fast_timers: DashboardPage) -> None:
    page = page_with_fast_timers
    page.open("jobs")
    page.wait(".jobs, .empty")
    page.tab.evaluate("Object.defineProperty(document, 'hidden', {get: () => globalThis.away})")
    page.tab.evaluate("globalThis.away = true; document.dispatchEvent(new Event('visibilitychange'))")
    page.requests.clear()
    page.tab.wait_for_timeout(300)  # a visible tab would send about ten requests
    assert page.requests == []
    with page.tab.expect_request("**/rest/executor/?*"):
        page.tab.evaluate("globalThis.away = false; document.dispatchEvent(new Event('visibilitychange'))")


def test_requests_back_off_while_the_server_fails(page_with_fast_timers: DashboardPage) -> None:
    page = page_with_fast_timers
    page.tab.route("**/rest/executor/?*", lambda route: route.fulfill(status=503, body="The storage is unreachable."))
    page.open("jobs")
    page.wait(".problem", "The storage is unreachable.")
    page.until("delays.length >= 6")
    delays = page.tab.evaluate("delays.slice(0, 6)")
    for number, delay in enumerate(delays, start=1):
        assert 0.75 <= delay / min(1000 * 2**number, 30_000) <= 1.25


def test_the_page_asks_for_the_nonce(page: DashboardPage) -> None:
    def guard(route: Route) -> None:
        if route.request.headers.get("x-executor-nonce") == "the nonce":
            route.continue_()
        else:
            route.fulfill(status=403, body=NONCE_ERROR)

    page.tab.route("**/rest/executor/**", guard)
    page.open("jobs")
    page.tab.get_by_role("textbox", name="Password").fill("wrong")
    page.button("Continue").click()
    page.wait("dialog h2", "Password")
    page.tab.get_by_role("textbox", name="Password").fill("the nonce")
    page.tab.keyboard.press("Enter")
    page.wait(".jobs, .empty")
    assert page.tab.evaluate("[Object.values(sessionStorage), localStorage.length]") == [["the nonce"], 0]
    page.tab.reload()
    page.wait(".jobs, .empty")
    assert page.tab.locator("dialog").count() == 0
