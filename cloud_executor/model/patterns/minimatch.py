"""Which files a result artifact takes: patterns as minimatch 3.0.3 reads them (docs/protocol.md: Patterns).

WebGME's worker calls `minimatch(path, pattern)` without options. `wcmatch` is the nearest library, and starting from it
was tried: with comments, negation and white space put right before it, one in twenty of the recorded cases still
differs, in brackets, backslashes, groups and UTF-16, where minimatch has no rules but those of the expressions that it
makes (`glob_segment`). `wcmatch` also leaves the matching to `re`, which a hostile pattern can keep busy for years. So
minimatch's own steps are followed here: braces, segments, then match segment by segment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cloud_executor.errors import Invalid
from cloud_executor.model.javascript import WHITE_SPACE, utf16_units
from cloud_executor.model.patterns.braces import expand_braces
from cloud_executor.model.patterns.regexp import Subject
from cloud_executor.model.patterns.segment import Globstar, Wildcard, parse_segment

MAX_PATTERN = 65_536
"""UTF-16 code units in a pattern; minimatch throws at longer ones"""
MAX_SIZE = 250_000
"""characters that the patterns of an artifact may stand for: braces expanded, and the expressions made of them"""

_SLASHES = re.compile("/+")

_Segment = str | Globstar | Wildcard
_Segments = list[_Segment]


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A pattern that is more than names: it takes a path if one of its alternatives does, or none if it is negated."""

    alternatives: list[_Segments]
    negated: bool

    def takes(self, path: _Path) -> bool:
        return any(_matches(segments, path) for segments in self.alternatives) != self.negated


class _Path:
    """A path to be matched, in segments."""

    __slots__ = ("_subjects", "segments")

    def __init__(self, path: str) -> None:
        self.segments = _SLASHES.split(utf16_units(path))
        self._subjects: list[Subject | None] = [None] * len(self.segments)

    def subject(self, place: int) -> Subject:
        subject = self._subjects[place]
        if subject is None:
            subject = self._subjects[place] = Subject(self.segments[place])
        return subject


class ResultPatterns:
    """The patterns of one artifact, which takes a file if one of them does; without patterns it takes all."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Raises Invalid for patterns that are too long or stand for too much."""
        self._takes_all = not patterns
        self._names: set[str] = set()
        """paths that patterns without wildcards name"""
        self._patterns: list[_Pattern] = []
        self.size = 0
        """how much the patterns stand for; at most MAX_SIZE"""
        known: dict[str, _Segment] = {}
        for pattern in patterns:
            self._add(utf16_units(pattern), known)

    def matches(self, path: str) -> bool:
        """Whether the artifact takes the file with this path, relative to the job's folder."""
        if self._takes_all:
            return True
        split = _Path(path)
        name = "/".join(split.segments)
        # A slash at the end of a path is ignored, if there is something before it.
        if name in self._names or (len(name) > 1 and name.endswith("/") and name[:-1] in self._names):
            return True
        return any(pattern.takes(split) for pattern in self._patterns)

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
            raise Invalid("The patterns of an artifact stand for too much.")


def _parse(glob: str, known: dict[str, _Segment]) -> _Segments:
    segments: _Segments = []
    for text in _SLASHES.split(glob):
        segment = known.get(text)
        if segment is None:
            segment = known[text] = parse_segment(text)
        # `**/**` is `**`: it already leads everywhere.
        if not (isinstance(segment, Globstar) and segments and isinstance(segments[-1], Globstar)):
            segments.append(segment)
    return segments


def _matches(segments: _Segments, path: _Path) -> bool:
    """Whether the segments of a pattern match a path: all ways at once, by the places in the path that they lead to."""
    end = len(path.segments)
    places = {0}
    for number, segment in enumerate(segments):
        if isinstance(segment, Globstar):
            if number == len(segments) - 1:
                return any(place < end and _undotted(path, place) == end for place in places)
            places = _swallowed(path, places)
        else:
            places = {place + 1 for place in places if place < end and _matches_name(segment, path, place)}
        if not places:
            return False
    return end in places or (end - 1 in places and not path.segments[-1])


def _matches_name(segment: str | Wildcard, path: _Path, place: int) -> bool:
    if isinstance(segment, str):
        return segment == path.segments[place]
    return segment.expression is not None and segment.expression.matches(path.subject(place))


def _swallowed(path: _Path, places: Iterable[int]) -> set[int]:
    """Where `**` can lead, with more segments to come: past names without a leading dot, but not past the last."""
    reached: set[int] = set()
    for place in places:
        while place < len(path.segments) and place not in reached:
            reached.add(place)
            if path.segments[place].startswith("."):
                break
            place += 1
    return reached


def _undotted(path: _Path, place: int) -> int:
    """The first place from here on whose name begins with a dot, or the end."""
    while place < len(path.segments) and not path.segments[place].startswith("."):
        place += 1
    return place
