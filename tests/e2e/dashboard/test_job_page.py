"""The page of one job: its failure, its log, its results, and what a user can do with it."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import pytest
from playwright.sync_api import Route
from stack_process import StackProcess, job_folder, until

from .browser_page import DashboardPage


@pytest.fixture(scope="module")
def failed_job(dashboard_stack: StackProcess, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("failed")
    (folder / "results").mkdir()
    (folder / "results" / "run.csv").write_text("time,voltage\n" + "".join(f"{n},{n * n}\n" for n in range(150)))
    (folder / "results" / "summary.json").write_text('{"converged": true, "steps": [1, 2, 3]}')
    (folder / "results" / "plot.png").write_bytes(png())
    (folder / "results" / "program").write_bytes(b"\x7fELF\0\0")
    script = "for n in 1 2 3; do echo out $n; done; for n in $(seq 20); do echo problem $n >&2; done; exit 3"
    with dashboard_stack.client as client:
        return client.wait(client.create_job(client.upload_folder(job_folder(folder, script))).hash, 60).hash


def png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0\1\2\3\4\5\6" * 2)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_the_failure_comes_first(page: DashboardPage, failed_job: str) -> None:
    page.open_job(failed_job)
    assert page.wait(".error-sentence").inner_text() == "The command exited with code 3."
    assert page.wait(".tail", "problem 20").inner_text().split("\n") == [f"problem {n}" for n in range(6, 21)]
    sections = page.tab.locator("main section").evaluate_all("(found) => found.map((one) => one.className)")
    assert sections[0] == "failure"
    assert page.text(".details").split("\n")[-2:] != []
    details = page.text(".details")
    assert "FAILED_TO_EXECUTE" in details
    assert "Exit code\n3" in details
    page.wait(".timeline-legend", "Archive")


def test_both_streams_are_shown_and_searched(page: DashboardPage, failed_job: str) -> None:
    page.open_job(failed_job)
    page.wait(".log .line", "out 3")
    page.tab.get_by_role("button", name="Standard error").click()
    page.wait(".log .line", "problem 7")
    page.tab.get_by_label("Search in the log").fill("PROBLEM 1")
    page.tab.keyboard.press("Enter")
    page.wait("[role=status]", "1 of 11 matching lines; searched all 211 B")
    page.button("Previous match").click()
    page.wait("[role=status]", "11 of 11 matching lines")
    assert page.text(".line.hit") == "problem 19"
    page.tab.get_by_label("Search in the log").fill("absent")
    page.button("Find").click()
    page.wait("[role=status]", "No match; searched all 211 B")
    with page.tab.expect_download() as download:
        page.tab.get_by_role("link", name="Download the whole log").click()
    assert download.value.path().read_text() == "".join(f"problem {n}\n" for n in range(1, 21))


def test_results_have_previews(page: DashboardPage, failed_job: str) -> None:
    page.open_job(failed_job)
    page.tab.locator(".artifact summary", has_text="results/").click()
    for name in ("run.csv", "summary.json", "plot.png", "program"):
        page.tab.locator(".file button", has_text=name).click()
    page.wait(".chart canvas")
    page.wait(".csv th", "voltage")
    page.wait(".hint", "The first 100 of 150 rows.")
    page.wait(".json-leaf", "converged: true")
    page.wait(".hint", "This is not text.")
    page.until("document.querySelector('img.preview')?.naturalWidth === 2")
    assert page.wait("img.preview").get_attribute("src").startswith("blob:")  # type: ignore[union-attr]
    page.wait(".file", "39 B")
    with page.tab.expect_download() as download:
        page.tab.get_by_label("Download summary.json").click()
    assert json.loads(download.value.path().read_text())["converged"] is True


def test_a_nonce_that_files_do_not_need_leaves_downloads_to_the_browser(page: DashboardPage, failed_job: str) -> None:
    page.tab.add_init_script("sessionStorage.setItem('executor-nonce', 'the nonce')")
    page.open_job(failed_job)
    with page.tab.expect_download() as download:
        page.button("Download the whole log").click()
    assert download.value.url.startswith("http:")


def test_the_configuration_is_read_from_the_zip(page: DashboardPage, failed_job: str) -> None:
    page.open_job(failed_job)
    page.tab.get_by_text("Configuration").click()
    page.wait(".json-leaf", 'cmd: "sh"')


def test_the_log_follows_and_includes_earlier_output(
    page: DashboardPage, dashboard_stack: StackProcess, tmp_path: Path
) -> None:
    proceed = tmp_path / "proceed"
    script = f"seq 300; while [ ! -e {proceed} ]; do sleep 0.05; done; echo more; sleep 600"
    with dashboard_stack.client as client:
        job = client.create_job(client.upload_folder(job_folder(tmp_path / "live", script, outputInterval=50)))
        until(lambda: client.job(job.hash).output_number is not None)
        page.open_job(job.hash)
        page.wait(".line", "300")
        assert page.tab.locator(".line").first.inner_text() == "1"
        proceed.touch()
        page.wait(".line", "more")
        assert page.tab.locator(".log").evaluate("(log) => log.scrollTop + log.clientHeight >= log.scrollHeight - 2")
        page.button("Top").click()
        page.until("document.querySelector('.log').scrollTop === 0")
        assert not page.tab.get_by_label("Follow").is_checked()

        page.button("Cancel").click()
        page.tab.get_by_label("Secret").fill(job.secret or "")
        page.button("Cancel the job").click()
        page.wait(".status", "Canceled")
    page.wait(".log-tools", "Download the whole log")
    page.wait(".line", "more")


def test_a_wrong_secret_is_reported(page: DashboardPage, dashboard_stack: StackProcess) -> None:
    with dashboard_stack.client as client:
        client.create_job("not ours", labels=["elsewhere"])
    page.open_job("not ours")
    page.button("Cancel").click()
    page.tab.get_by_label("Secret").fill("guessed")
    page.button("Cancel the job").click()
    page.wait(".problem", "secret")
    assert page.text(".status") == "◷ Waiting"


def test_a_job_runs_again_and_stays_up_to_date(
    page: DashboardPage, dashboard_stack: StackProcess, tmp_path: Path
) -> None:
    counter = tmp_path / "counter"
    script = f"echo run >> {counter}; echo run $(wc -l < {counter})"
    with dashboard_stack.client as client:
        job = client.wait(client.create_job(client.upload_folder(job_folder(tmp_path / "again", script))).hash, 30)
    page.open_job(job.hash)
    page.wait(".line", "run 1")
    page.button("Run again").click()
    page.wait(".line", "run 2")
    secrets = json.loads(page.tab.evaluate("localStorage.getItem('executor-secrets')"))
    assert [known for known, _ in secrets] == [job.hash]


@pytest.mark.parametrize(("granted", "expected"), [("25", [150] * 5), ("0", [150, 1000, 1000, 1000, 1000])])
def test_a_server_that_waits_is_asked_again_at_once(
    page_with_fast_timers: DashboardPage, granted: str, expected: list[int]
) -> None:
    """Another server is polled every second while something changes, as in this job."""
    page = page_with_fast_timers
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url.partition("?")[2])
        created = "2026-01-31T12:00:00.000Z"
        job = {"hash": "x", "status": "RUNNING", "outputNumber": len(asked), "createTime": created}
        route.fulfill(headers={"X-Executor-Wait": granted, "Content-Type": "application/json"}, body=json.dumps(job))

    page.tab.route("**/rest/executor/info/x*", answer)
    page.tab.route("**/rest/executor/output/x*", lambda route: route.fulfill(json=[]))
    page.open_job("x")
    page.until("delays.length >= 5")
    assert asked[:3] == ["", *(f"wait=25&status=RUNNING&outputNumber={number}" for number in (1, 2))]
    assert page.tab.evaluate("delays.slice(0, 5)") == expected


def test_an_unchanged_job_is_polled_less_and_less_often(page_with_fast_timers: DashboardPage) -> None:
    page = page_with_fast_timers
    job = {"hash": "x", "status": "CREATED", "outputNumber": None, "createTime": "2026-01-31T12:00:00.000Z"}
    page.tab.route("**/rest/executor/info/x*", lambda route: route.fulfill(json=job))
    page.open_job("x")
    page.until("delays.length >= 8")
    assert page.tab.evaluate("delays.slice(0, 8)") == [150, 1500, 2250, 3375, 5062.5, 7593.75, 10_000, 10_000]


def test_an_unknown_job_is_reported(page: DashboardPage) -> None:
    page.open_job("0" * 40)
    page.wait(".problem")
    assert page.tab.title() == f"{'0' * 40} · Cloud Executor"


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"jobsAhead": 12}, "Waiting: 12 jobs ahead."),
        ({"jobsAhead": 1000}, "Waiting: 1000+ jobs ahead."),
        ({"jobsAhead": 1, "waitingReason": "machine starting"}, "Waiting: a machine is starting."),
        ({"waitingReason": "<b>new</b>"}, "Waiting: <b>new</b>."),
    ],
)
def test_a_waiting_job_says_what_it_waits_for(page: DashboardPage, fields: dict[str, object], shown: str) -> None:
    job = {"hash": "x", "status": "CREATED", "createTime": "2026-01-31T12:00:00.000Z", **fields}
    page.tab.route("**/rest/executor/info/x*", lambda route: route.fulfill(json=job))
    page.tab.route("**/rest/executor/output/x*", lambda route: route.fulfill(json=[]))
    page.open_job("x")
    assert page.wait(".notice", "Waiting").inner_text() == shown
