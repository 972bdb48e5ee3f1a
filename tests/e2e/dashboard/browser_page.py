"""A tab with the dashboard."""

from __future__ import annotations

from urllib.parse import quote

from playwright.sync_api import ConsoleMessage, Locator, Page
from stack_process import until

SECONDS = 30.0
"""Longest time that a test waits for the page, in seconds."""


class DashboardPage:
    """A tab, and what went wrong in it."""

    def __init__(self, tab: Page) -> None:
        self.tab = tab
        self.errors: list[str] = []
        self.requests: list[str] = []
        tab.set_default_timeout(SECONDS * 1000)
        tab.on("pageerror", lambda error: self.errors.append(str(error)))
        tab.on("console", self._on_console)
        tab.on("dialog", lambda dialog: self.errors.append(f"dialog: {dialog.message}"))
        tab.on("request", lambda request: self.requests.append(request.url))

    def _on_console(self, message: ConsoleMessage) -> None:
        # A browser reports each response with an error status, which the dashboard expects and handles.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.errors.append(message.text)

    def check(self) -> None:
        assert not self.errors, self.errors
        assert self.tab.evaluate("globalThis.hacked") is None

    def open(self, address: str) -> None:
        self.tab.goto(f"/#/{address}")

    def open_job(self, job_id: str) -> None:
        self.open(f"job/{quote(job_id, safe='')}")

    def wait(self, selector: str, text: str | None = None) -> Locator:
        """Wait until an element is visible and, if given, contains this text."""
        found = self.tab.locator(selector) if text is None else self.tab.locator(selector, has_text=text)
        found.first.wait_for()
        return found.first

    def until(self, expression: str) -> None:
        """Wait until a JavaScript expression is true. Playwright's own wait needs `eval`, which the policy forbids."""
        until(lambda: self.tab.evaluate(expression))

    def button(self, name: str) -> Locator:
        return self.tab.get_by_role("button", name=name, exact=True)

    def text(self, selector: str) -> str:
        return self.tab.locator(selector).first.inner_text()

    def module(self, name: str, expression: str) -> object:
        """The value of an expression in which `module` is one of the dashboard's modules."""
        prefix = self.tab.locator("script[type=module]").get_attribute("src")
        assert prefix is not None
        path = "/" + prefix.removesuffix("app.js") + name
        return self.tab.evaluate(f"async () => {{ const module = await import({path!r}); return {expression}; }}")
