"""Which files of a folder are sent: `.executorignore`, in the syntax of `.gitignore`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_executor.client.errors import InvalidSource
from cloud_executor.model.documents.config_document import CONFIG_FILE

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILE = ".executorignore"

DEFAULT_PATTERNS = (
    *(".git/", ".hg/", ".svn/", ".venv/", ".tox/", ".nox/", ".direnv/"),
    *("__pycache__/", ".mypy_cache/", ".pytest_cache/", ".ruff_cache/", ".ipynb_checkpoints/"),
    *(".DS_Store", f"/{IGNORE_FILE}"),
)
"""Patterns that come before those of the file, which can include a name again: `!.git/`."""


class Ignored:
    """The files of a folder that are not sent. `left_out` collects those that were met."""

    def __init__(self, folder: Path, more: Sequence[str] = ()) -> None:
        """`more` are further patterns. Raises InvalidSource for a pattern that is not valid."""
        own = [*_patterns_of(folder), *more]
        # The default patterns are valid, so an empty folder needs no library.
        self._spec = _spec([*DEFAULT_PATTERNS, *own]) if own else None
        self.left_out: list[str] = []

    def matches(self, path: str, *, is_folder: bool) -> bool:
        """Whether the file or folder at this path below the folder is left out."""
        if self._spec is None:
            self._spec = _spec(DEFAULT_PATTERNS)
        if path == CONFIG_FILE or not self._spec.match_file(f"{path}/" if is_folder else path):
            return False
        if path != IGNORE_FILE:
            self.left_out.append(path)
        return True


def pattern_of(path: Path, folder: Path) -> list[str]:
    """The pattern that leaves out this folder or file if it is inside `folder`."""
    found, root = path.resolve(), folder.resolve()
    if not found.is_relative_to(root) or found == root:
        return []
    escaped = "".join(f"\\{c}" if c in "*?[]\\!# " else c for c in found.relative_to(root).as_posix())
    return [f"/{escaped}"]


def _patterns_of(folder: Path) -> list[str]:
    try:
        return (folder / IGNORE_FILE).read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise InvalidSource(f"{folder / IGNORE_FILE} is not valid UTF-8: save it as UTF-8.") from error


def _spec(patterns: Sequence[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec  # loaded only when a folder is sent

    try:
        return GitIgnoreSpec.from_lines(patterns)
    except ValueError as error:
        raise InvalidSource(f"{IGNORE_FILE} contains an invalid pattern: {str(error).rstrip('.')}.") from error
