"""The files that a result artifact selects, by the patterns of minimatch 3.0.3 (docs/protocol.md: Patterns).

WebGME's worker calls `minimatch(path, pattern)` without options. The closest library is `wcmatch`, but even with
comments, negation, and white space handled beforehand, it differs in one of twenty recorded cases: in brackets,
backslashes, groups, and UTF-16, where minimatch's only rules are the regular expressions that it generates (`segment`).
`wcmatch` also matches with `re`, which a hostile pattern can keep busy for years. This module therefore follows
minimatch's own steps: it expands braces, splits the pattern into segments, and matches segment by segment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cloud_executor.errors import Invalid
from cloud_executor.model.documents.javascript import WHITE_SPACE, utf16_units
from cloud_executor.model.patterns.braces import expand_braces
from cloud_executor.model.patterns.regexp import RegExp, Subject
from cloud_executor.model.patterns.segment import Globstar, Wildcard, parse_segment

MAX_PATTERN = 65_536
"""Maximum length of a pattern, in UTF-16 code units; minimatch throws an error for a longer one."""
MAX_SIZE = 250_000
"""Maximum size of an artifact's patterns, in characters: the expanded patterns and their regular expressions."""

MAX_CACHED_RESULTS = 200_000
"""Maximum number of cached results of expressions, over all segments of the paths of one job."""
STEPS_PER_PATH = 5
"""Steps for splitting a path."""
STEPS_BETWEEN_CHECKS = 20_000
"""Interval between two calls of `check` while paths are matched, in steps: less than a tenth of a second."""

_SLASHES = re.compile("/+")

_Segment = str | Globstar | Wildcard
_Segments = list[_Segment]


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A pattern that is negated or has wildcards, and its brace expansions as alternatives."""

    alternatives: list[_Segments]
    negated: bool

    def matches(self, path: _Path) -> bool:
        return any(_matches(segments, path) for segments in self.alternatives) != self.negated


class TooMuchWork(Exception):
    """Matching the paths would take more steps than the limit."""


class Matching:
    """The work of matching many paths. Not safe for use by threads."""

    def __init__(self, max_steps: float = math.inf, check: Callable[[], None] = lambda: None) -> None:
        """`check` is called at intervals; its exceptions end the work."""
        self._steps_left = max_steps
        self._check = check
        self._steps_until_check = STEPS_BETWEEN_CHECKS
        self._subjects: dict[str, Subject] = {}
        self._cached = 0

    def spend(self, steps: int) -> None:
        """Count this many steps, of about a microsecond each. Raises TooMuchWork."""
        self._steps_left -= steps
        if self._steps_left < 0:
            raise TooMuchWork
        self._steps_until_check -= steps
        if self._steps_until_check <= 0:
            self._steps_until_check = STEPS_BETWEEN_CHECKS
            self._check()

    def matches(self, expression: RegExp, segment: str) -> bool:
        """Whether the expression matches a segment. Paths have most of their segments in common, so it is cached."""
        subject = self._subjects.get(segment)
        if subject is None:
            subject = self._subjects[segment] = Subject(segment, self.spend)
            self._cached += 1
        before = subject.cached
        found = expression.matches(subject)
        self._cached += subject.cached - before
        if self._cached > MAX_CACHED_RESULTS:
            self._subjects.clear()
            self._cached = 0
        return found


class _Path:
    """A path, split into segments."""

    __slots__ = ("matching", "segments")

    def __init__(self, path: str, matching: Matching) -> None:
        self.segments = _SLASHES.split(utf16_units(path))
        self.matching = matching


class ResultPatterns:
    """The patterns of an artifact. They select the files that any of them matches; without patterns, all files."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Raises Invalid for patterns that are too long or expand to too much."""
        self.given = tuple(patterns)
        self._match_all = not patterns
        self._names: set[str] = set()
        """Paths named by patterns without wildcards."""
        self._patterns: list[_Pattern] = []
        self.size = 0
        """Size of the expanded patterns and their regular expressions, in characters; at most MAX_SIZE."""
        known: dict[str, _Segment] = {}
        for pattern in patterns:
            self._add(utf16_units(pattern), known)

    def matches(self, path: str, matching: Matching | None = None) -> bool:
        """Whether the patterns select the file with this path, relative to the job's folder. Raises TooMuchWork."""
        if self._match_all:
            return True
        split = _Path(path, matching or Matching())
        split.matching.spend(STEPS_PER_PATH)
        name = "/".join(split.segments)
        # A slash at the end of a path is ignored, unless it is the whole path.
        if name in self._names or (len(name) > 1 and name.endswith("/") and name[:-1] in self._names):
            return True
        return any(pattern.matches(split) for pattern in self._patterns)

    def _add(self, pattern: str, known: dict[str, _Segment]) -> None:
        if len(pattern) > MAX_PATTERN:
            raise Invalid(f"A pattern is longer than {MAX_PATTERN} characters.")
        pattern = pattern.strip(WHITE_SPACE)
        if pattern.startswith("#"):
            return
        if not pattern:
            self._names.add("")
            return
        glob = pattern.lstrip("!")
        negated = (len(pattern) - len(glob)) % 2 == 1
        alternatives: list[_Segments] = []
        for expansion in expand_braces(glob):
            segments = _parse(expansion, known)
            self._grow(1 + len(expansion) + sum(part.size for part in segments if isinstance(part, Wildcard)))
            names = [segment for segment in segments if isinstance(segment, str)]
            if len(names) == len(segments) and not negated:
                self._names.add("/".join(names))
            else:
                alternatives.append(segments)
        if alternatives or negated:
            self._patterns.append(_Pattern(alternatives, negated))

    def _grow(self, size: int) -> None:
        self.size += size
        if self.size > MAX_SIZE:
            raise Invalid("The patterns of an artifact expand to too much; use fewer or simpler ones.")


def _parse(glob: str, known: dict[str, _Segment]) -> _Segments:
    segments: _Segments = []
    for text in _SLASHES.split(glob):
        segment = known.get(text)
        if segment is None:
            segment = known[text] = parse_segment(text)
        # `**/**` is equivalent to `**`.
        if not (isinstance(segment, Globstar) and segments and isinstance(segments[-1], Globstar)):
            segments.append(segment)
    return segments


def _matches(segments: _Segments, path: _Path) -> bool:
    """Whether the segments of a pattern match a path.

    The positions in the path that the pattern can have reached are followed all at once.
    """
    end = len(path.segments)
    positions = {0}
    for number, segment in enumerate(segments):
        path.matching.spend(len(positions))
        if isinstance(segment, Globstar):
            if number == len(segments) - 1:
                return any(position < end and _next_hidden(path, position) == end for position in positions)
            path.matching.spend(len(path.segments))
            positions = _reached_by_globstar(path, positions)
        else:
            positions = {
                position + 1 for position in positions if position < end and _matches_segment(segment, path, position)
            }
        if not positions:
            return False
    return end in positions or (end - 1 in positions and not path.segments[-1])


def _matches_segment(segment: str | Wildcard, path: _Path, position: int) -> bool:
    if isinstance(segment, str):
        return segment == path.segments[position]
    return segment.expression is not None and path.matching.matches(segment.expression, path.segments[position])


def _reached_by_globstar(path: _Path, positions: Iterable[int]) -> set[int]:
    """The positions that `**` before another segment can reach: it skips any number of segments that are not hidden."""
    reached: set[int] = set()
    for start in positions:
        position = start
        while position < len(path.segments) and position not in reached:
            reached.add(position)
            if path.segments[position].startswith("."):
                break
            position += 1
    return reached


def _next_hidden(path: _Path, position: int) -> int:
    """The position of the next segment that begins with a dot, or the end of the path."""
    while position < len(path.segments) and not path.segments[position].startswith("."):
        position += 1
    return position
