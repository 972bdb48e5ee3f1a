"""The tutorial and the how-tos: the commands and Python programs of the pages that name a folder to run them in.

A block in the language `text` that follows shows the whole output. Commands that need a program or a machine that the
tests do not have are in blocks of the language `bash`, which are not run.
"""

from __future__ import annotations

import re
import shlex
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from page_shell import all_blocks, open_shell
from requirement import lacking
from stack_process import PROJECT, StackProcess

DOCS = PROJECT / "docs"
PAGES = [DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md"))]
FOLDER = re.compile(r"<!-- run in: (\S+) -->")
RUN = [page for page in PAGES if FOLDER.search(page.read_text())]


def test_pages_with_commands_name_a_folder() -> None:
    assert {"tutorial.md", "sweep.md", "shared-input.md", "c-and-modelica.md"} <= {page.name for page in RUN}
    assert [page for page in PAGES if page not in RUN and "```console" in page.read_text()] == []


@pytest.mark.parametrize("backends", ["embedded"], indirect=True)
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_commands_print_what_the_page_shows(page: Path, stack: StackProcess, tmp_path: Path) -> None:
    if page.stem == "c-and-modelica" and not (shutil.which("make") and shutil.which("cc")):
        lacking("compiler", "The commands of the page need make and cc, which are not installed.")
    folder = FOLDER.search(page.read_text())
    assert folder is not None
    shell = open_shell(tmp_path / "shell", stack, folder[1])
    for (language, content), (following, shown) in pairwise([*all_blocks(page), ("", "")]):
        if language in ("console", "python"):
            output = shell.run(content if language == "console" else f"python3 -c {shlex.quote(content)}")
            assert following != "text" or output == shown
