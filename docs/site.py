"""`make site`: build the documentation as a web site in build/site.

The pages are written for GitHub. The site has the same tree, so that links between pages and to other files of the
repository work in both: a copy of all pages and of the files that they link to, in build/pages.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PAGES = ("*.md", "bench/*.md", "docs/**/*.md", "examples/**/*.md", "terraform/modules/*/README.md")
"""Patterns of the pages."""

LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)")

_MARKER = re.compile(r"(?:[*-]|\d+\.) +(?=\S)")
_FENCE = re.compile(r" *```")


def pages() -> Iterator[Path]:
    """All pages."""
    for pattern in PAGES:
        yield from sorted(PROJECT.glob(pattern))


def for_site(page: str) -> str:
    """The page with the indentation that Python-Markdown expects of lists: four columns per level."""
    lines: list[str] = []
    levels: list[int] = []
    """Column in which the content of each open list item begins."""
    fenced = False
    for line in page.splitlines():
        indent = len(line) - len(line.lstrip())
        if line.strip() and not fenced:
            while levels and indent < levels[-1]:
                levels.pop()
        start = levels[-1] if levels else 0
        lines.append(" " * 4 * len(levels) + line[min(indent, start) :] if line.strip() else "")
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced and (marker := _MARKER.match(line, indent)):
            lines[-1] = " " * 4 * len(levels) + marker[0].rstrip().ljust(4) + line[marker.end() :]
            levels.append(marker.end())
    return "\n".join(lines) + "\n"


def stage(folder: Path) -> None:
    """Write the pages and the files that they link to into the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    for page in pages():
        content = page.read_text()
        _write(folder, page, for_site(content).encode())
        for target, _ in LINK.findall(content):
            linked = (page.parent / target).resolve()
            if linked.is_file() and linked.suffix != ".md":
                _write(folder, linked, linked.read_bytes())


def _write(folder: Path, source: Path, content: bytes) -> None:
    copy = folder / source.relative_to(PROJECT)
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(content)


if __name__ == "__main__":
    stage(PROJECT / "build" / "pages")
    command = [str(Path(sys.executable).with_name("zensical")), "build", "--clean", "--strict"]
    sys.exit(subprocess.run(command, cwd=PROJECT, check=False).returncode)
