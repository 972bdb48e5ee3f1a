"""Citations such as `(docs/protocol.md: Identity)` in Python sources name headings of that page."""

import re
from collections.abc import Set
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PAGE = "docs/protocol.md"
CITATION = re.compile(rf"\({re.escape(PAGE)}:([^()]+)\)")
MENTION = re.compile(rf"{re.escape(PAGE)}|\(protocol:")
"""Anything that is meant as a citation, well formed or not."""
LEAST_CITATIONS = 20


def sources() -> dict[str, str]:
    folders = [folder for folder in PROJECT.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    paths = [path for folder in folders for path in folder.rglob("*.py") if path != Path(__file__)]
    return {str(path.relative_to(PROJECT)): path.read_text() for path in paths if "node_modules" not in path.parts}


def headings_of(page: str) -> list[str]:
    return re.findall(r"^#{2,} (.+)$", page, re.MULTILINE)


def cited_headings(source: str) -> list[str]:
    """The headings that a source cites; one citation may name several, separated by commas."""
    return [" ".join(name.split()) for names in CITATION.findall(source) for name in names.split(",")]


def wrong_citations(source: str, headings: Set[str]) -> list[str]:
    """Cited headings that do not exist, and mentions of the page that are not citations."""
    unknown = [name for name in cited_headings(source) if name not in headings]
    return unknown + MENTION.findall(CITATION.sub("", source))


def test_each_citation_names_a_heading() -> None:
    headings = set(headings_of((PROJECT / PAGE).read_text()))
    found = sources()
    wrong = {path: wrong_citations(source, headings) for path, source in found.items()}
    assert {path: names for path, names in wrong.items() if names} == {}
    assert sum(len(CITATION.findall(source)) for source in found.values()) >= LEAST_CITATIONS


def test_each_heading_is_unique_and_can_be_cited() -> None:
    headings = headings_of((PROJECT / PAGE).read_text())
    assert len(set(headings)) == len(headings)
    assert [heading for heading in headings if re.search(r"[,()]", heading)] == []


def test_a_wrong_citation_is_found() -> None:
    headings = {"Identity", "Lost workers"}
    assert wrong_citations("(docs/protocol.md: Identity) (docs/protocol.md: Lost\n  workers, Identity)", headings) == []
    assert wrong_citations("(docs/protocol.md: Identities)", headings) == ["Identities"]
    assert wrong_citations("(docs/protocol.md: Identity, lost workers)", headings) == ["lost workers"]
    assert wrong_citations("see docs/protocol.md", headings) == ["docs/protocol.md"]
    assert wrong_citations("(protocol: Identity)", headings) == ["(protocol:"]


def test_headings_are_those_below_the_title() -> None:
    page = "# Title\n\n## Identity\n\nSee #5.\n\n### Lost workers\n"
    assert headings_of(page) == ["Identity", "Lost workers"]
