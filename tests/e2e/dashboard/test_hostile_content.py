"""Names and outputs that try to run code in the page, to garble it, or to overload it: they are shown as text."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest
from stack_process import StackProcess, job_folder

from .browser_page import DashboardPage

ATTACK = "<img src=x onerror=\"globalThis.hacked='yes'\"><script>globalThis.hacked='yes'</script>"
OUTPUT = b"\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2Jplain \xff\xfe\xc3(\x00 end\n" + ATTACK.encode() + b"\n"
UNQUOTED = ATTACK.replace('"', "")
FILES = {
    f"{ATTACK.replace('/', '_')}.txt": ATTACK,
    "page.html": ATTACK,
    "image.svg": f'<svg xmlns="http://www.w3.org/2000/svg">{ATTACK}</svg>',
    "image.png": ATTACK,
    "table.csv": f'{UNQUOTED},b\n1,2\n"{UNQUOTED}",3\n',
    "tree.json": json.dumps({ATTACK: [ATTACK]}),
}
LARGE_BYTES = 25 * 1024 * 1024
MOST_LINES = 5000


@pytest.fixture(scope="module")
def hostile_job(dashboard_stack: StackProcess, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "output.bin").write_bytes(OUTPUT)
    for name, content in FILES.items():
        (folder / name).write_text(content)
    artifacts = [{"name": ATTACK, "resultPatterns": []}]
    job_folder(folder, "cat output.bin; cat output.bin >&2; exit 1", artifacts)
    with dashboard_stack.client as client:
        return client.wait(client.create_job(client.upload_folder(folder)).hash, 60).hash


def test_hostile_results_are_text(page: DashboardPage, hostile_job: str) -> None:
    page.open_job(hostile_job)
    assert page.wait(".artifact summary").inner_text().startswith(ATTACK)
    page.wait(".file")
    for name in ("page.html", "image.svg", "table.csv", "tree.json", "image.png"):
        page.tab.locator(".file button", has_text=name).click()
    page.until("document.querySelectorAll('.preview .line').length === 2")
    assert page.tab.locator(".preview .line").all_inner_texts() == [FILES["image.svg"], ATTACK]
    page.wait("table.csv td", "onerror")
    page.wait(".json-leaf", "onerror")
    page.wait(".problem", "not an image")
    assert page.tab.locator("main img, main svg, main iframe, main script").count() == 0


def test_hostile_output_is_text(page: DashboardPage, hostile_job: str) -> None:
    page.open_job(hostile_job)
    for selector in (".tail", ".log"):
        page.wait(selector, "onerror")
        lines = page.text(selector).split("\n")
        assert lines[0] == "red plain \ufffd\ufffd\ufffd(\u2400 end"
        assert lines[1] == ATTACK
        assert page.wait(f"{selector} .ansi-red").inner_text() == "red"


def test_hostile_ids_and_labels_are_text(page: DashboardPage, dashboard_stack: StackProcess) -> None:
    job_id = f"../{ATTACK}?#%2e&\u202eabc"
    with dashboard_stack.client as client:
        client.create_job(job_id, labels=[ATTACK])
    page.open("jobs?status=waiting")
    assert page.wait(".chip", "onerror").inner_text() == ATTACK
    page.wait("td.title a", "onerror").click()
    page.wait("h1", "onerror")
    page.wait(".notice", "external worker")
    assert page.text("main .id bdi") == job_id
    page.tab.get_by_text("Commands for a terminal").click()
    page.wait(".commands code")
    ours, curl = (shlex.split(command) for command in page.tab.locator(".commands code").all_inner_texts()[:2])
    assert ours == ["executor", "status", "--url", dashboard_stack.url, job_id]
    assert (curl[0], unquote(curl[1].removeprefix(f"{dashboard_stack.url}/rest/executor/info/"))) == ("curl", job_id)


def test_a_large_log_does_not_hang_the_page(page: DashboardPage, dashboard_stack: StackProcess, tmp_path: Path) -> None:
    script = f"echo the first line; yes 0123456789 | head -c {LARGE_BYTES}; printf '\\nthe LAST line'"
    with dashboard_stack.client as client:
        job = client.create_job(client.upload_folder(job_folder(tmp_path / "large", script, [])))
        assert client.wait(job.hash, 120).status == "SUCCESS"
    page.open_job(job.hash)
    page.wait(".line", "the first line")
    page.button("End").click()
    page.wait(".line", "the LAST line")
    assert 0 < page.tab.locator(".line").count() <= MOST_LINES
    for _ in range(3):  # earlier lines replace the later ones
        page.tab.locator(".log").evaluate("(log) => { log.scrollTop = 0; }")
        page.tab.wait_for_timeout(50)
    assert page.tab.locator(".line").count() <= MOST_LINES
    page.button("Top").click()
    page.wait(".line", "the first line")
    page.tab.get_by_label("Search in the log").fill("the last LINE")
    page.button("Find").click()
    page.wait(".search [role=status]", "1 of 1 matching lines; searched all 26.2 MB")
    assert page.wait(".line.hit").inner_text() == "the LAST line"
    whole = page.tab.get_by_role("link", name="Download the whole log").get_attribute("href")
    assert int(page.tab.request.head(f"/{whole}").headers["content-length"]) > LARGE_BYTES


def test_endless_lines_are_cut(page: DashboardPage, dashboard_stack: StackProcess, tmp_path: Path) -> None:
    folder = job_folder(tmp_path / "endless", "head -c 3000000 /dev/zero | tr '\\0' a; echo; echo short", [])
    with dashboard_stack.client as client:
        job = client.wait(client.create_job(client.upload_folder(folder)).hash, 60)
    page.open_job(job.hash)
    page.wait(".line", "more characters")
    assert len(page.text(".line")) < 10_100
    page.button("End").click()
    page.wait(".line", "short")


def test_many_files_do_not_hang_the_page(page: DashboardPage, dashboard_stack: StackProcess) -> None:
    content = {f"{index}.txt": {"content": "0" * 40, "contentType": "object"} for index in range(20_000)}
    metadata = {"name": "many.zip", "size": 1, "content": content, "contentType": "complex"}
    with httpx.Client(base_url=dashboard_stack.url, trust_env=False, timeout=30) as client:
        (artifact,) = client.post("/rest/blob/createMetadata", json=metadata).raise_for_status().json()
        client.post("/rest/executor/create/many", json={"labels": ["elsewhere"]}).raise_for_status()
        report = {"status": "SUCCESS", "worker": "w", "resultHashes": {"many": artifact}, "finishTime": "yesterday"}
        client.post("/rest/executor/update/many", json=report).raise_for_status()
    page.open_job("many")
    page.wait(".artifact summary", "20,000 files")
    page.wait(".file")
    assert page.tab.locator(".file").count() == 200
    page.tab.get_by_role("button", name="Show more").click()
    page.until("document.querySelectorAll('.file').length === 400")
