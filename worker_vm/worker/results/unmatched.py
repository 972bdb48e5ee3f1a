"""Say which artifacts match no file, and which names their patterns probably mean (docs/api.md: Jobs)."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable, Sequence
from itertools import islice

from cloud_executor.errors import Invalid
from cloud_executor.model.documents.executor_config import ResultArtifact
from cloud_executor.model.patterns.minimatch import ResultPatterns
from worker_vm.worker.file_names import quoted_name

MAX_WARNINGS = 10
"""Limit of warnings about the artifacts of a job."""

MAX_NAMES = 2000
"""Number of files whose names are compared with the patterns."""

MAX_PATTERNS = 10
"""Number of patterns per artifact for which similar names are looked for."""

LONGEST_NAME = 200
"""Length of patterns and names, in characters, up to which they are compared."""

SECONDS = 1.0
"""Time limit for looking for similar names, in seconds. After that, the warnings contain no names."""

SHOWN_NAMES = 3

LEAST_SIMILARITY = 0.6
"""Least similarity, from 0 to 1, of names that are considered near."""


class UnmatchedPatterns:
    """Collects the names of a job's files, and the artifacts that they are in."""

    def __init__(self, artifacts: Iterable[ResultArtifact]) -> None:
        self._artifacts = tuple(artifacts)
        self._patterns = {artifact.name: _plain_patterns(artifact) for artifact in self._artifacts}
        self._wanted_folders = frozenset(pattern for patterns in self._patterns.values() for pattern in patterns)
        self._last_folder = ""
        self._names: list[str] = []
        self._folders: set[str] = set()
        self._matched: set[str] = set()
        self._end = 0.0

    def note(self, path: str, takers: Iterable[str]) -> None:
        """Note a file and the names of the artifacts that select it."""
        self._matched.update(takers)
        keep = len(self._names) < MAX_NAMES
        if keep:
            self._names.append(path)
        folder = path.rpartition("/")[0]
        if folder == self._last_folder:
            return
        self._last_folder = folder
        while folder and folder not in self._folders:
            if keep or folder in self._wanted_folders:
                self._folders.add(folder)
            folder = folder.rpartition("/")[0]

    def warnings(self) -> tuple[str, ...]:
        """Sentences about the artifacts without files, and about patterns that name a folder."""
        self._end = time.monotonic() + SECONDS
        self._names.sort()
        found = (sentence for artifact in self._artifacts for sentence in self._warnings(artifact))
        return tuple(islice(found, MAX_WARNINGS))

    def _warnings(self, artifact: ResultArtifact) -> Iterable[str]:
        patterns = self._patterns[artifact.name]
        hints = self._folder_hints(patterns)
        if artifact.name not in self._matched:
            hints = hints or self._name_hints(patterns)
            yield " ".join((f"No file matches the patterns of the artifact {quoted_name(artifact.name)}.", *hints))
        else:
            yield from hints

    def _folder_hints(self, patterns: Sequence[str]) -> list[str]:
        return [
            f"{quoted_name(pattern)} is a folder; use {quoted_name(pattern + '/**')}."
            for pattern in patterns
            if pattern in self._folders
        ][:SHOWN_NAMES]

    def _name_hints(self, patterns: Sequence[str]) -> list[str]:
        candidates = [pattern for pattern in patterns[:MAX_PATTERNS] if 0 < len(pattern) <= LONGEST_NAME]
        for pattern in candidates:
            if self._matches(pattern, sorted(self._folders)):
                return [f"{quoted_name(pattern)} matches folders only; use {quoted_name(pattern + '/**')}."]
        near = list(dict.fromkeys(name for pattern in candidates for name in self._near(pattern)))
        if near:
            return [f"The nearest names are: {_listed(near)}."]
        return [f"The job's files are: {_listed(self._names)}."] if self._names else ["The job left no files."]

    def _near(self, pattern: str) -> list[str]:
        """The names that the pattern probably means, the best first."""
        lower = {name.lower(): name for name in self._names}
        return (
            self._matches(pattern, self._names)
            or self._matches(f"**/{pattern}", self._names)
            or [lower[name] for name in self._matches(f"**/{pattern.lower()}", list(lower))]
            or self._similar(pattern)
        )

    def _similar(self, pattern: str) -> list[str]:
        whole, last = difflib.SequenceMatcher(b=pattern), difflib.SequenceMatcher(b=pattern.rpartition("/")[2])
        found: list[tuple[float, str]] = []
        for name in self._names:
            if time.monotonic() > self._end:
                break
            if len(name) <= LONGEST_NAME:
                whole.set_seq1(name)
                last.set_seq1(name.rpartition("/")[2])
                similarity = max(whole.ratio(), last.ratio())
                if similarity >= LEAST_SIMILARITY:
                    found.append((-similarity, name))
        return [name for _, name in sorted(found)[: SHOWN_NAMES + 1]]

    def _matches(self, pattern: str, names: Sequence[str]) -> list[str]:
        if time.monotonic() > self._end:
            return []
        try:
            patterns = ResultPatterns([pattern])
        except Invalid:
            return []
        found: list[str] = []
        for name in names:
            if len(found) > SHOWN_NAMES or time.monotonic() > self._end:
                break
            if patterns.matches(name):
                found.append(name)
        return found


def _plain_patterns(artifact: ResultArtifact) -> list[str]:
    """The patterns without what often keeps one from matching: `./`, a slash at either end, or backslashes."""
    stripped = [pattern.strip() for pattern in artifact.patterns.given]
    return [
        pattern.replace("\\", "/").removeprefix("./").strip("/")
        for pattern in stripped
        if not pattern.startswith(("!", "#"))
    ]


def _listed(names: Sequence[str]) -> str:
    more = ", …" if len(names) > SHOWN_NAMES else ""
    return ", ".join(map(quoted_name, names[:SHOWN_NAMES])) + more
