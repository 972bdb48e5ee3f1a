"""The page of a server with accounts: signing in and out, and what needs the token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from memory_folders import memory_folder
from playwright.sync_api import Browser, BrowserContext
from stack_process import StackProcess, job_folder, until

from cloud_executor import Client

from .browser_page import DashboardPage

STORED = "[location.hash, Object.keys(sessionStorage), localStorage.length]"


@pytest.fixture(scope="module")
def stack() -> Iterator[StackProcess]:
    with (
        memory_folder() as folder,
        closing(StackProcess(folder / "data", "--slots", "1", "--auth", "token")) as started,
    ):
        yield started


@pytest.fixture(scope="module")
def sign_in_address(stack: StackProcess) -> str:
    """The address that the first start prints."""
    assert stack.process.stdout is not None
    found = re.search(r"http://\S+/#token=cex_\w+", stack.process.stdout.readline())
    assert found is not None
    return found[0]


@pytest.fixture(scope="module")
def token(sign_in_address: str) -> str:
    return sign_in_address.partition("=")[2]


@pytest.fixture(scope="module")
def own_context(browser: Browser, stack: StackProcess) -> BrowserContext:
    return browser.new_context(base_url=stack.url, accept_downloads=True)


@pytest.fixture
def own_page(own_context: BrowserContext) -> Iterator[DashboardPage]:
    """A tab that is not signed in."""
    opened = DashboardPage(own_context.new_page())
    yield opened
    opened.check()
    opened.tab.close()


def test_the_printed_address_signs_in_and_a_token_is_asked_for_otherwise(
    own_page: DashboardPage, sign_in_address: str, token: str
) -> None:
    page = own_page
    page.tab.goto(sign_in_address)
    page.wait(".jobs, .empty")
    assert page.tab.evaluate(STORED) == ["#/jobs", ["executor-token"], 0]
    page.tab.reload()
    page.wait(".jobs, .empty")
    page.button("Sign out").click()
    page.wait("dialog", "executor token create NAME")
    assert page.tab.evaluate(STORED) == ["#/jobs", [], 0]
    page.tab.get_by_role("textbox", name="Token").fill("cex_wrong")
    page.button("Continue").click()
    page.wait("dialog .problem", "token")
    page.tab.get_by_role("textbox", name="Token").fill(token)
    page.tab.keyboard.press("Enter")
    page.wait(".jobs, .empty")
    page.wait("header", "Sign out")
    assert all(token not in request for request in page.requests)


def test_downloads_send_the_token_and_large_ones_name_a_command(
    own_page: DashboardPage, stack: StackProcess, sign_in_address: str, token: str, tmp_path: Path
) -> None:
    page = own_page
    script = "echo hello; echo result > 'a \"ü\".txt'"
    with Client(stack.url, token=token) as client:
        job = client.wait(client.create_job(client.upload_folder(job_folder(tmp_path / "job", script))).hash, 60)
    page.tab.goto(sign_in_address)
    page.wait(".jobs")
    page.open_job(job.hash)
    page.wait(".file", 'a "ü".txt')
    with page.tab.expect_download() as download:
        page.tab.get_by_label('Download a "ü".txt').click()
    assert download.value.path().read_text() == "result\n"
    with page.tab.expect_download() as log:
        page.button("Download the whole log").click()
    assert (log.value.suggested_filename, log.value.path().read_text()) == ("job_stdout.txt", "hello\n")

    page.tab.evaluate(
        """() => {
            const original = fetch;
            globalThis.fetch = async (...given) => {
                const response = await original(...given);
                return given[0].includes("/download/")
                    ? new Response(response.body, { headers: { "Content-Length": "2000000000" } })
                    : response;
            };
        }"""
    )
    page.button("Download all files").click()
    page.wait(".problem", "This file has 2.0 GB; the page can save up to 1.0 GB. Set EXECUTOR_TOKEN")
    assert token not in page.text(".problem")


def test_users_cancel_their_jobs_without_secrets(
    own_page: DashboardPage, stack: StackProcess, sign_in_address: str, token: str
) -> None:
    page = own_page
    ids = ["waits-1", "waits-2", "waits-3"]
    with Client(stack.url, token=token) as client:
        for job_id in ids:
            client.create_job(job_id, labels=["elsewhere"])
        page.tab.goto(sign_in_address)
        page.wait(".jobs")
        page.open("jobs?label=elsewhere")
        page.tab.get_by_label("Select the job waits-1").check()
        page.tab.get_by_label("Select the job waits-2").check()
        page.button("Cancel").click()
        page.button("Cancel jobs").click()
        page.until("document.querySelectorAll('.status.canceled').length === 2")
        page.open_job("waits-3")
        page.button("Cancel").click()
        page.button("Cancel the job").click()
        until(lambda: [client.job(job_id).status for job_id in ids] == ["CANCELED"] * 3)
