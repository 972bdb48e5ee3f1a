"""Jobs that are submitted in the browser run like those of the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from stack_process import StackProcess, job_folder

from .browser_page import DashboardPage


def test_a_command_runs_with_its_options(page: DashboardPage, dashboard_stack: StackProcess) -> None:
    page.open("submit")
    page.tab.get_by_label("Run by sh").fill('printf "%s\\n" "a \'quoted\' ü"; echo x > kept.txt; echo y > other')
    page.tab.get_by_label("Files to keep").fill("*.txt, *.csv")
    page.tab.get_by_label("Time limit in seconds").fill("60")
    page.tab.get_by_label("Name").fill("a command")
    page.tab.get_by_label("Tags").fill("one, two")
    page.button("Submit").click()
    page.wait(".status", "Succeeded")
    page.wait(".line", "a 'quoted' ü")
    page.wait("h1", "a command")
    page.wait(".file", "kept.txt")
    assert page.tab.locator(".file", has_text="other").count() == 0
    job_id = page.tab.url.rpartition("/")[2]
    with dashboard_stack.client as client:
        assert client.job(job_id).status == "SUCCESS"


def test_executable_bits_in_a_folder_are_kept(page: DashboardPage, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "bin" / "deep").mkdir(parents=True)
    (folder / "bin" / "deep" / "run.sh").write_text("#!/bin/sh\necho from the script; cat ../../data/ü.txt")
    (folder / "data").mkdir()
    (folder / "data" / "ü.txt").write_text("from the data")
    page.open("submit")
    page.tab.get_by_label("Folder", exact=True).set_input_files(folder)
    page.wait(".drop", "2 files")
    page.tab.get_by_label("Run by sh").fill("cd bin/deep && ./run.sh && [ ! -x ../../data/ü.txt ]")
    page.button("Submit").click()
    page.wait(".status", "Succeeded")
    page.wait(".line", "from the script")
    page.wait(".line", "from the data")


def test_a_folder_with_a_configuration_needs_no_command(page: DashboardPage, tmp_path: Path) -> None:
    page.open("submit")
    page.tab.get_by_label("Folder", exact=True).set_input_files(job_folder(tmp_path / "configured", "echo configured"))
    page.wait(".notice", "as its executor_config.json says")
    assert page.tab.get_by_label("Run by sh").count() == 0
    page.button("Submit").click()
    page.wait(".line", "configured")


def test_a_zip_is_sent_unchanged_and_known_files_are_not_sent_again(
    page: DashboardPage, dashboard_stack: StackProcess, tmp_path: Path
) -> None:
    folder = job_folder(tmp_path / "zipped", "echo from the zip")
    zipped = Path(shutil.make_archive(str(tmp_path / "source"), "zip", folder))
    with dashboard_stack.client as client:
        expected = client.upload_file(zipped)
    page.open("submit")
    page.tab.get_by_label("Files", exact=True).set_input_files(zipped)
    page.wait(".notice", "as its executor_config.json says")
    page.requests.clear()
    page.button("Submit").click()
    page.wait(".line", "from the zip")
    assert page.tab.url.endswith(f"#/job/{expected}")
    assert not any("createFile" in url for url in page.requests)

    page.open("submit")
    page.tab.get_by_label("Files", exact=True).set_input_files(zipped)
    page.button("Submit").click()
    page.wait(".notice", "were submitted before")
    page.tab.get_by_role("link", name="show that job").click()
    page.wait("h1", expected[:10])


def test_a_zip_without_a_configuration_is_not_submitted(page: DashboardPage, tmp_path: Path) -> None:
    (tmp_path / "content").mkdir()
    (tmp_path / "content" / "x").write_text("x")
    zipped = shutil.make_archive(str(tmp_path / "source"), "zip", tmp_path / "content")
    page.open("submit")
    page.tab.get_by_label("Files", exact=True).set_input_files(zipped)
    page.wait(".problem", "The zip has no executor_config.json")
    assert page.button("Submit").is_disabled()
    (tmp_path / "broken.zip").write_bytes(b"PK no zip")
    page.tab.get_by_label("Files", exact=True).set_input_files(tmp_path / "broken.zip")
    page.wait(".problem", "This is not a zip.")


def test_dropped_files_are_read_with_their_folders(page: DashboardPage) -> None:
    """A drop cannot be simulated with real folders, so these entries stand for one."""
    page.open("submit")
    page.wait(".drop")
    script = """(async () => {
        const file = (name) => ({ name, isFile: true, file: (found) => found(new File(["x"], name)) });
        const folder = (name, inner) => ({ name, isFile: false, createReader: () => {
            const batches = [inner.slice(0, 1), inner.slice(1), []];
            return { readEntries: (found) => found(batches.shift()) };
        } });
        const tree = folder("top", [file("a"), folder("in", [file("b"), file("c")])]);
        const files = await module.droppedFiles({ items: [{ webkitGetAsEntry: () => tree }] });
        return files.map((found) => found.path);
    })()"""
    assert page.module("submit/files.js", script) == ["a", "in/b", "in/c"]


def test_the_configuration_has_only_the_fields_that_are_given(page: DashboardPage) -> None:
    page.open("submit")
    page.wait(".drop")
    config = page.module(
        "submit/config.js", "module.configOf({ ...module.EMPTY, command: 'x', cpus: '0.5', image: ' i ' })"
    )
    assert config == {
        "cmd": "sh",
        "args": ["-c", "x"],
        "resultArtifacts": [{"name": "all", "resultPatterns": []}],
        "outputInterval": 1000,
        "image": "i",
        "resources": {"cpus": 0.5},
    }
    assert json.loads(json.dumps(page.module("submit/config.js", "module.createFields(module.EMPTY)"))) == {
        "labels": []
    }
