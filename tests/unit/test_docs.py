"""What the documentation says exists, exists; and what exists, it says."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from cloud_executor.model.job import Status
from cloud_executor.settings import PREFIX, Settings

PROJECT = Path(__file__).parents[2]
PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md")])
API = (PROJECT / "docs" / "api.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_are_there(page: Path) -> None:
    named = re.findall(r"`((?:cloud_executor|functions|worker_vm|tests|bench|docs|\.ci)/[\w./-]*)`", page.read_text())
    assert [name for name in named if not (PROJECT / name).exists()] == []


def test_every_setting_is_described_with_its_meaning() -> None:
    rows = {
        PREFIX + setting.name.upper(): (setting.metadata["form"], setting.metadata["meaning"])
        for setting in fields(Settings)
    }
    described = dict(re.findall(r"^\| `(EXECUTOR_\w+)` \| (.+) \|$", API, re.MULTILINE))
    assert described.keys() == rows.keys()
    for name, (form, meaning) in rows.items():
        assert described[name].startswith(form), name
        assert meaning.replace("->", "→") in described[name].replace("`", ""), name


def test_every_status_is_described() -> None:
    assert [status for status in Status if f"`{status}`" not in API] == []


def test_every_target_of_the_makefile_that_is_named_is_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    named = {target for page in PAGES for target in re.findall(r"(?:`|^)make ([a-z]+)", page.read_text(), re.MULTILINE)}
    assert named - targets == set()


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    listed = [
        *project["dependencies"],
        *project["optional-dependencies"]["server"],
        *project["optional-dependencies"]["dev"],
    ]
    names = {re.split(r"[>=<\[]", name)[0] for name in listed} - {"cloud-executor"}
    reasons = (PROJECT / "docs" / "dependencies.md").read_text()
    explained = {
        name.strip() for row in re.findall(r"^\| ([\w, -]+) \|", reasons, re.MULTILINE) for name in row.split(",")
    }
    assert names - explained == set()
