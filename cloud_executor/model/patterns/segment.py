"""One segment of a pattern, between slashes, as minimatch 3.0.3 (ISC) reads it.

minimatch makes the text of a regular expression. When a bracket or a group stays open, a class is invalid, or negated
groups follow each other, it cuts and pastes what it has written so far, and what comes out decides which files are
results. So this writes the same text (docs/protocol.md: Patterns). Segments are texts of UTF-16 code units.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cloud_executor.errors import Invalid
from cloud_executor.model.patterns.regexp import RegExp
from cloud_executor.model.patterns.regexp_syntax import NotARegExp, is_regexp

MAX_SOURCE = 150_000
"""so long an expression may get: each negated group doubles what stands after it"""
_MAX_DEPTH = 50

_ANY = "[^/]"
_ANY_NUMBER = _ANY + "*?"
_SPECIALS = frozenset("().*{}+?[]^$\\!")
_ALONE = {"*": _ANY_NUMBER, "?": _ANY, "+": "\\+", "@": "\\@", "!": "\\!"}
_OPENING = {"!": "(?:(?!(?:", "?": "(?:", "+": "(?:", "*": "(?:", "@": "(?:"}
_LOOK_END = ")[^/]*?)"
_CLOSING = {"!": ")" + _LOOK_END, "?": ")?", "+": ")+", "*": ")*", "@": ")"}
_NO_DOT = r"(?!\.)"

_BAR = re.compile(r"((?:\\\\){0,64})(\\?)\|")
_GROUP_END = re.compile(r"\)[+*?]?")
_ESCAPE = re.compile("\\\\([^\n\r\u2028\u2029])")


class Globstar:
    """The segment `**`."""


@dataclass(frozen=True, slots=True)
class Wildcard:
    """A segment that is matched by an expression; None matches nothing."""

    expression: RegExp | None
    size: int
    """length of the expression's text"""


def parse_segment(glob: str) -> str | Globstar | Wildcard:
    """What the segment is: a name, or something that matches names. Raises Invalid."""
    if glob == "**":
        return Globstar()
    if not glob:
        return ""
    source, magic = _Translation(glob, depth=0).result()
    if not magic:
        return _ESCAPE.sub(r"\1", glob)
    try:
        return Wildcard(RegExp(f"^{source}$"), len(source))
    except NotARegExp:
        return Wildcard(None, len(source))


@dataclass(slots=True)
class _Group:
    kind: str
    start: int
    """where its text begins, as it was when the group was opened"""
    end: int = 0


class _Translation:
    """From glob to regular expression."""

    def __init__(self, glob: str, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise Invalid("The brackets of a pattern are nested too deeply.")
        self._glob = glob
        self._depth = depth
        self._source = ""
        self._magic = False
        self._pending = ""
        """one of ?*+@!, which may be about to open a group"""
        self._escaping = False
        self._class_start: int | None = None
        """where the open bracket stands in the glob"""
        self._class_source = 0
        """where its text begins"""
        self._groups: list[_Group] = []
        self._negated: list[_Group] = []

    def result(self) -> tuple[str, bool]:
        """The expression, and whether it is more than a name."""
        for place, character in enumerate(self._glob):
            self._read(place, character)
            self._check_size()
        if self._class_start is not None:
            self._reread_class(self._glob[self._class_start + 1 :])
        while self._groups:
            self._give_up(self._groups.pop())
        self._flush()
        if self._escaping:
            self._source += "\\\\"
        may_begin_with_dot = self._source[:1] in (".", "[", "(")
        for group in reversed(self._negated):
            self._look_to_the_end(group)
            self._check_size()
        if self._source and self._magic:
            self._source = "(?=.)" + self._source
        if may_begin_with_dot and not self._glob.startswith("."):
            self._source = _NO_DOT + self._source
        return self._source, self._magic

    def _read(self, place: int, character: str) -> None:
        if self._escaping and character in _SPECIALS:
            self._source += "\\" + character
            self._escaping = False
            return
        match character:
            case "\\":
                self._flush()
                self._escaping = True
            case "?" | "*" | "+" | "@" | "!":
                if self._class_start is None:
                    self._flush()
                    self._pending = character
                else:
                    first = place == self._class_start + 1
                    self._source += "^" if character == "!" and first else character
            case "(":
                self._open_group()
            case ")":
                self._close_group()
            case "|":
                self._read_bar()
            case "[":
                self._open_class(place)
            case "]":
                self._close_class(place)
            case _:
                self._flush()
                special = character in _SPECIALS and not (character == "^" and self._class_start is not None)
                self._source += "\\" + character if special and not self._escaping else character
                self._escaping = False

    def _flush(self) -> None:
        """Write the pending character, which opened no group."""
        if self._pending:
            self._source += _ALONE[self._pending]
            self._magic |= self._pending in ("*", "?")
            self._pending = ""

    def _open_group(self) -> None:
        if self._class_start is not None:
            self._source += "("
        elif not self._pending:
            self._source += "\\("
        else:
            self._groups.append(_Group(self._pending, len(self._source)))
            self._source += _OPENING[self._pending]
            self._pending = ""

    def _close_group(self) -> None:
        if self._class_start is not None or not self._groups:
            self._source += "\\)"
            return
        self._flush()
        self._magic = True
        group = self._groups.pop()
        self._source += _CLOSING[group.kind]
        group.end = len(self._source)
        if group.kind == "!":
            self._negated.append(group)

    def _read_bar(self) -> None:
        if self._class_start is not None or not self._groups or self._escaping:
            self._source += "\\|"
            self._escaping = False
        else:
            self._flush()
            self._source += "|"

    def _open_class(self, place: int) -> None:
        self._flush()
        if self._class_start is not None:
            self._source += "\\["
        else:
            self._class_start = place
            self._class_source = len(self._source)
            self._source += "["

    def _close_class(self, place: int) -> None:
        if self._class_start is None or place == self._class_start + 1:
            self._source += "\\]"
            self._escaping = False
            return
        insides = self._glob[self._class_start + 1 : place]
        if is_regexp(f"[{insides}]"):
            self._magic = True
            self._source += "]"
        else:
            self._reread_class(insides)
            self._source += "\\]"
        self._class_start = None

    def _reread_class(self, insides: str) -> None:
        """The bracket is no class: it stands for itself, and what follows it is read again."""
        if insides in ("", "**"):
            source, magic = "undefined", False
        else:
            source, magic = _Translation(insides, self._depth + 1).result()
        self._source = self._source[: self._class_source] + "\\[" + source
        self._magic |= magic

    def _give_up(self, group: _Group) -> None:
        """The group was never closed: its opening stands for itself, and so do the bars in it."""
        rest = _BAR.sub(r"\1\1\\|", self._source[group.start + len(_OPENING[group.kind]) :])
        self._source = f"{self._source[: group.start]}{_ALONE[group.kind]}\\({rest}"
        self._magic = True

    def _look_to_the_end(self, group: _Group) -> None:
        """A negated group must not match together with what follows it either: paste that into its lookahead."""
        end_of_look = group.end - len(_LOOK_END)
        before, after = self._source[: group.start], self._source[group.end :]
        # What follows without the ends of the groups that the negated one stands in.
        groups_before = before.count("(")
        followed_by = _GROUP_END.sub("", after, count=groups_before) if groups_before else after
        if not followed_by and self._depth == 0:
            followed_by = "$"
        self._source = (
            f"{before}{self._source[group.start : end_of_look]}{followed_by}"
            f"{self._source[end_of_look : group.end]}{after}"
        )

    def _check_size(self) -> None:
        if len(self._source) > MAX_SOURCE:
            raise Invalid("A pattern is too complicated.")
