"""Modules of the dashboard on their own: reading logs, tables, and terminal output at their edges."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext

from .browser_page import DashboardPage


@pytest.fixture(scope="module")
def modules(context: BrowserContext) -> DashboardPage:
    opened = DashboardPage(context.new_page())
    opened.tab.goto("/#/nowhere")
    return opened


LOG = """
    const bytes = new TextEncoder().encode(%s);
    const log = new module.BlobLog(bytes.length, async (start, end) => bytes.subarray(start, end));
"""


def of_log(modules: DashboardPage, content: str, code: str) -> object:
    return modules.module("job/log_source.js", f"(async () => {{ {LOG % content} {code} }})()")


def test_lines_across_pieces_are_whole_in_both_directions(modules: DashboardPage) -> None:
    content = "Array.from({length: 100000}, (_, n) => `line ${n}\\n`).join('') + 'the end'"
    walk = """
        const forward = [], backward = [];
        for (let at = 0; at < log.end; at = forward.at(-1).end) { forward.push(...await log.after(at)); }
        for (let at = log.end; at > 0; at = backward[0].start) { backward.unshift(...await log.before(at)); }
        const texts = (lines) => lines.map((line) => line.text).join("|");
        const expected = new TextDecoder().decode(bytes).split("\\n").join("|");
        return [texts(forward) === expected, texts(backward) === expected];
    """
    assert of_log(modules, content, walk) == [True, True]


def test_a_search_finds_lines_in_every_piece_and_reports_progress(modules: DashboardPage) -> None:
    content = "('x'.repeat(5_000_000) + '\\nNeedle 1\\n' + 'y\\n'.repeat(3_000_000) + 'nee\\x1b[1;31mdle\\x1b[0m 2')"
    code = """
        const progress = [];
        const found = await log.search("NEEDLE", (searched) => progress.push(searched));
        const lines = await Promise.all(found.hits.map((at) => log.after(at)));
        return [lines.map((found) => found[0].text), found.complete, progress.length > 2, progress.at(-1) === log.end];
    """
    assert of_log(modules, content, code) == [["Needle 1", "nee\x1b[1;31mdle\x1b[0m 2"], True, True, True]


def test_live_output_is_joined_and_bounded(modules: DashboardPage) -> None:
    code = """(async () => {
        const log = new module.LiveLog();
        for (const part of ["a", "b\\nc", "\\n", "\\nd"]) log.append(part);
        const texts = (await log.after(0)).map((line) => line.text);
        for (let n = 0; n < 30; n += 1) log.append("x\\n".repeat(10_000));
        const first = await log.after(0);
        return [texts, log.end - log.start <= 100_000, log.end, first[0].start === log.start, log.start > 0];
    })()"""
    assert modules.module("job/log_source.js", code) == [["ab", "c", "", "d"], True, 300_003, True, True]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a,b\n1,2\n", [["a", "b"], ["1", "2"]]),
        ('"a ""quoted"", cell","two\nlines"\r\n,', [['a "quoted", cell', "two\nlines"], ["", ""]]),
        ("", []),
    ],
)
def test_csv(modules: DashboardPage, text: str, rows: list[list[str]]) -> None:
    assert modules.module("job/csv.js", f"module.parseCsv({text!r}, ',', true)") == rows


@pytest.mark.parametrize(
    ("line", "visible"),
    [
        ("10 %\\r50 %\\r100 %", "100 %"),
        ("\\x1b]8;;https://example.org\\x07link\\x1b]8;;\\x1b\\\\", "link"),
        ("\\x1b[2K\\x1b[1Aup\\x1b[?25h", "up"),
        ("\\x1b[31mred\\x1b[0m", "\x1b[31mred\x1b[0m"),
    ],
)
def test_other_escape_sequences_are_removed(modules: DashboardPage, line: str, visible: str) -> None:
    assert modules.module("job/ansi.js", f"module.visibleText('{line}')") == visible
