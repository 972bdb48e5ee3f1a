"""One stack and one headless Chromium for all tests of the dashboard.

They end with these tests, because Playwright keeps an event loop running, which other tests could not share.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing

import pytest
from memory_folders import memory_folder
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from requirement import lacking
from stack_process import StackProcess

from .browser_page import DashboardPage

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="package")
def dashboard_stack() -> Iterator[StackProcess]:
    with memory_folder() as folder, closing(StackProcess(folder / "data", "--slots", "3")) as started:
        yield started


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        lacking("chromium", "The dashboard's tests need Chromium, which is not installed.")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture(scope="package")
def context(browser: Browser, dashboard_stack: StackProcess) -> BrowserContext:
    """Tabs that share a cache, so that only the first one loads and compiles the scripts."""
    return browser.new_context(base_url=dashboard_stack.url, accept_downloads=True)


@pytest.fixture
def page(context: BrowserContext) -> Iterator[DashboardPage]:
    """A new tab with empty storage. The test fails if a script fails, or the page's policy blocks anything."""
    opened = DashboardPage(context.new_page())
    yield opened
    opened.check()
    if opened.tab.url != "about:blank":
        opened.tab.evaluate("localStorage.clear()")
    opened.tab.close()


@pytest.fixture
def page_with_fast_timers(context: BrowserContext) -> Iterator[DashboardPage]:
    """A tab whose timers fire soon; `delays` in it lists the times of 150 ms and more that they were set to."""
    opened = DashboardPage(context.new_page())
    opened.tab.add_init_script(
        """{
            const original = setTimeout;
            globalThis.delays = [];
            globalThis.setTimeout = (action, delay) => {
                if (delay >= 150) delays.push(delay);  // shorter ones are those of the libraries
                return original(action, Math.min(delay, 20));
            };
        }"""
    )
    yield opened
    opened.check()
    opened.tab.close()
