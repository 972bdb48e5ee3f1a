"""What holds for every page: accessibility, both color schemes, a phone's width, and the keyboard."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser
from stack_process import StackProcess, job_folder

from .browser_page import DashboardPage

SERIOUS = {"serious", "critical"}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def addresses(dashboard_stack: StackProcess, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An address of each page, and an element that shows that the page is complete."""
    script = "printf '\\033[32mgreen\\033[0m \\033[33;41myellow\\033[0m\\n'; echo a,b > t.csv; echo problem >&2; exit 1"
    folder = job_folder(tmp_path_factory.mktemp("pages") / "job", script)
    with dashboard_stack.client as client:
        job = client.wait(client.create_job(client.upload_folder(folder), labels=[]).hash, 60)
        client.create_job("x" * 200, labels=["a label that is rather long " * 5])
    return {
        "jobs": ".jobs",
        f"job/{job.hash}": ".file",
        f"job/{'x' * 200}": ".notice",
        "submit": ".drop",
        "workers": ".card",
        "overview": ".chart, .hint",
    }


@pytest.fixture(params=["light", "dark"])
def phone(request: pytest.FixtureRequest, browser: Browser, dashboard_stack: StackProcess) -> Iterator[DashboardPage]:
    context = browser.new_context(base_url=dashboard_stack.url, viewport=PHONE, color_scheme=request.param)
    opened = DashboardPage(context.new_page())
    yield opened
    opened.check()
    context.close()


def test_every_page_is_accessible_and_fits_on_a_phone(phone: DashboardPage, addresses: dict[str, str]) -> None:
    problems: list[object] = []
    for address, element in addresses.items():
        phone.open(address)
        phone.wait(element)
        if (width := phone.tab.evaluate("document.documentElement.scrollWidth")) > PHONE["width"]:
            problems.append((address, "width", width))
        found = Axe().run(phone.tab, options={"resultTypes": ["violations"]}).response["violations"]
        problems += [
            (address, one["id"], one["nodes"][0]["html"], one["nodes"][0]["failureSummary"])
            for one in found
            if one["impact"] in SERIOUS
        ]
    assert problems == []


def test_the_page_works_by_keyboard(page: DashboardPage, addresses: dict[str, str]) -> None:
    page.open("jobs")
    page.wait(".jobs")
    page.tab.locator("body").press("Tab")
    assert page.tab.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.tab.keyboard.press("Enter")
    assert page.tab.evaluate("document.activeElement.id") == "main"
    page.button("Failed").focus()
    page.tab.keyboard.press("Space")
    page.tab.wait_for_url("**/#/jobs?status=failed")
    page.wait("td.title a").focus()
    page.tab.keyboard.press("Enter")
    page.wait(".failure")
    assert page.tab.evaluate("document.activeElement.id") == "main"


def test_workers_and_pools_are_listed(
    page: DashboardPage, addresses: dict[str, str], dashboard_stack: StackProcess
) -> None:
    page.open("workers")
    page.wait(".card", "default")
    page.wait(".card", "of 3 slots in use")
    page.wait(".card", "Pool default, seen")


def test_the_overview_counts_jobs_by_hour_and_outcome(page: DashboardPage) -> None:
    page.open("overview")
    page.wait("h1")
    counted = page.module(
        "system/history.js",
        """module.jobsPerHour([
            { status: "SUCCESS", finishTime: "2026-01-31T10:59:59Z" },
            { status: "FAILED_TO_EXECUTE", finishTime: "2026-01-31T10:00:00Z" },
            { status: "SUCCESS", finishTime: "yesterday" },
        ]).data.map((values) => values.filter((value) => value !== null && value < 10).length)""",
    )
    assert isinstance(counted, list)
    assert counted[0] == 0
    median = page.module(
        "system/history.js",
        """module.medianSeconds(module.times([1, 2, 9].map((seconds) => ({
            status: "SUCCESS", createTime: "2026-01-31T10:00:00Z", durations: { queued: seconds, run: 60 * seconds },
        }))))""",
    )
    assert median == "; median queue time 2.0 s, median run time 2 min 0 s."


def test_the_totals_of_the_server_are_shown_where_it_has_them(page: DashboardPage) -> None:
    stats = '{"jobs": {"RUNNING": 3, "FAILED_UNZIP": 1, "FAILED_TO_EXECUTE": 2}, "pools": {}, "bytesStored": 1500}'
    page.tab.route("**/rest/executor/stats", lambda route: route.fulfill(body=stats, content_type="application/json"))
    page.open("overview")
    page.wait(".tile.running", "3")
    page.wait(".tile.failed", "3")
    page.wait(".tile", "1.5 kB")
    page.tab.unroute_all()
    page.tab.route("**/rest/executor/stats", lambda route: route.fulfill(status=404, body="Unknown path."))
    page.tab.reload()
    page.wait("main .hint, main .empty")
    assert page.tab.locator(".tile").count() == 0
