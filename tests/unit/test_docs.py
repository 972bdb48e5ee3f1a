"""Test that the documentation matches the code, in both directions."""

import re
import tomllib
from pathlib import Path

import pytest

from cloud_executor.model.jobs.job import Status
from docs import site
from docs.generate import PYTHON_PAGE, REST_PAGE, python_page, with_commands, with_settings
from docs.rest_page import rest_page

PROJECT = Path(__file__).parents[2]
PAGES = sorted(site.pages())
API = (PROJECT / "docs" / "api.md").read_text()

FOLDERS = {folder.name for folder in PROJECT.iterdir() if folder.is_dir()}
GENERATED = {
    "terraform/terraform.tfvars",
    "terraform/states/",
    "terraform/states/PROJECT/REGION/NAME/",
}
"""Paths that exist only after a deployment."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_lead_to_headings(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]*)#([^)]+)\)", page.read_text())
    assert [
        f"{target}#{anchor}"
        for target, anchor in links
        if anchor not in anchors(page.parent / target if target else page)
    ] == []


def anchors(page: Path) -> set[str]:
    """The anchors that Markdown renderers give to the page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_paths_exist(page: Path) -> None:
    """Paths in backticks: source files by their suffix, and everything that begins with a folder of the repository."""
    quoted = set(re.findall(r"`([\w.-]+(?:/[\w.-]+)*/?)`", page.read_text()))
    paths = {
        path
        for path in quoted
        if path.endswith((".py", ".tf")) or (path.partition("/")[1] and path.split("/")[0] in FOLDERS)
    }
    folders = [PROJECT, page.parent]
    if (commands := re.search(r"<!-- run in: (\S+) -->", page.read_text())) is not None:
        folders.append(PROJECT / commands[1])
    assert [path for path in sorted(paths - GENERATED) if not any((folder / path).exists() for folder in folders)] == []


def test_the_site_lists_every_page_once() -> None:
    configuration = (PROJECT / "mkdocs.yml").read_text()
    listed = re.findall(r": (\S+\.md)$", configuration, re.MULTILINE)
    assert [page for page in listed if not (PROJECT / page).is_file()] == []
    assert {str(page.relative_to(PROJECT)) for page in PAGES} - set(listed) == set()
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize(
    ("github", "python_markdown"),
    [
        ("* a\n  b\n\n  c\n", "*   a\n    b\n\n    c\n"),
        ("1. a\n\n   ```sh\n   x\n     y\n   ```\n", "1.  a\n\n    ```sh\n    x\n      y\n    ```\n"),
        ("* a\n  * b\n    c\n* d\n\ne\n", "*   a\n    *   b\n        c\n*   d\n\ne\n"),
        ("```text\n* a\n  b\n```\n", "```text\n* a\n  b\n```\n"),
        ("10. a\n\n    b\n", "10. a\n\n    b\n"),
    ],
)
def test_lists_are_indented_for_the_site(github: str, python_markdown: str) -> None:
    assert site.for_site(github) == python_markdown


def test_the_settings_table_is_up_to_date() -> None:
    assert "| `EXECUTOR_DATA` |" in API
    assert with_settings(API) == API, "The settings table in docs/api.md is out of date: run `make docs`."


def test_the_rest_reference_is_up_to_date() -> None:
    assert REST_PAGE.read_text() == rest_page(), "docs/rest.md is out of date: run `make docs`."


def test_the_page_of_python_classes_is_up_to_date() -> None:
    assert PYTHON_PAGE.read_text() == python_page(), "docs/python-classes.md is out of date: run `make docs`."


def test_the_page_of_commands_is_up_to_date() -> None:
    page = (PROJECT / "docs" / "cli.md").read_text()
    assert "## executor run\n" in page
    assert "## executor token create\n" in page
    assert with_commands(page) == page, "docs/cli.md is out of date: run `make docs`."


def test_every_status_is_described() -> None:
    assert [status for status in Status if f"`{status}`" not in API] == []


def test_named_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    named = {
        target for page in PAGES for target in re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(), re.MULTILINE)
    }
    assert named - targets == set()


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    listed = sum(project["optional-dependencies"].values(), project["dependencies"])
    names = {re.split(r"[>=<\[]", name)[0] for name in listed} - {"cloud-executor"}
    reasons = (PROJECT / "docs" / "dependencies.md").read_text()
    explained = {
        name.strip() for row in re.findall(r"^\| ([\w, -]+) \|", reasons, re.MULTILINE) for name in row.split(",")
    }
    assert names - explained == set()
