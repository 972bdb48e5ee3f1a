"""One segment of a pattern, between slashes, as minimatch 3.0.3 (ISC) translates it.

minimatch translates a segment into the source of a regular expression. If a bracket or group is not closed, a class is
invalid, or several groups are negated, it cuts and pastes the source that it has written so far, and the result decides
which files match. This module therefore writes exactly the same source (docs/protocol.md: Patterns). Segments are
strings of UTF-16 code units.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cloud_executor.errors import Invalid
from cloud_executor.model.patterns.regexp import RegExp
from cloud_executor.model.patterns.regexp_syntax import InvalidRegExp, is_regexp

MAX_SOURCE = 150_000
"""Maximum length of an expression's source: each negated group doubles the source after it."""
_MAX_DEPTH = 50
_MAX_REWRITTEN = 5_000_000
"""Maximum number of characters that are rewritten in one segment, because groups are not closed or are negated."""
_REREADING_COST = 8
"""Cost of translating a character again, as a number of rewritten characters."""

_ANY = "[^/]"
_ANY_NUMBER = _ANY + "*?"
_SPECIALS = frozenset("().*{}+?[]^$\\!")
_ALONE = {"*": _ANY_NUMBER, "?": _ANY, "+": "\\+", "@": "\\@", "!": "\\!"}
_OPENING = {"!": "(?:(?!(?:", "?": "(?:", "+": "(?:", "*": "(?:", "@": "(?:"}
_LOOKAHEAD_END = ")[^/]*?)"
_CLOSING = {"!": ")" + _LOOKAHEAD_END, "?": ")?", "+": ")+", "*": ")*", "@": ")"}
_NO_DOT = r"(?!\.)"

_BAR = re.compile(r"((?:\\\\){0,64})(\\?)\|")
_GROUP_END = re.compile(r"\)[+*?]?")
_ESCAPE = re.compile("\\\\([^\n\r\u2028\u2029])")


class Globstar:
    """The segment `**`."""


@dataclass(frozen=True, slots=True)
class Wildcard:
    """A segment that a regular expression matches."""

    expression: RegExp | None
    """None matches nothing."""
    size: int
    """Length of the expression's source."""


def parse_segment(glob: str) -> str | Globstar | Wildcard:
    """Parse a segment: a literal name is returned as a string. Raises Invalid."""
    if glob == "**":
        return Globstar()
    if not glob:
        return ""
    source, magic = _Translation(glob, _Budget()).result()
    if not magic:
        return _ESCAPE.sub(r"\1", glob)
    try:
        return Wildcard(RegExp(f"^{source}$"), len(source))
    except InvalidRegExp:
        return Wildcard(None, len(source))


@dataclass(slots=True)
class _Group:
    kind: str
    start: int
    """Position in the source at which the group begins."""
    end: int = 0
    """Position in the source at which the group ends, once it is closed."""


class _Budget:
    """Limits the time for one segment: a bracket or group that is not closed rewrites all that follows it."""

    def __init__(self) -> None:
        self._characters = _MAX_REWRITTEN

    def spend(self, characters: int) -> None:
        self._characters -= characters
        if self._characters < 0:
            raise Invalid("A pattern is too complex: it has too many brackets or groups that are not closed.")


class _Translation:
    """The translation of a glob into the source of a regular expression."""

    def __init__(self, glob: str, budget: _Budget, depth: int = 0) -> None:
        if depth > _MAX_DEPTH:
            raise Invalid("The brackets of a pattern are nested too deeply.")
        self._glob = glob
        self._budget = budget
        self._depth = depth
        self._source = ""
        self._magic = False
        self._pending = ""
        """One of ?*+@!, which opens a group if a parenthesis follows; otherwise empty."""
        self._escaping = False
        self._class_start: int | None = None
        """Position of the open bracket in the glob."""
        self._class_source = 0
        """Position in the source at which the open bracket begins."""
        self._groups: list[_Group] = []
        self._negated: list[_Group] = []

    def result(self) -> tuple[str, bool]:
        """The source, and whether it is more than a literal name."""
        for position, character in enumerate(self._glob):
            self._read(position, character)
            self._check_size()
        if self._class_start is not None:
            self._reread_class(self._glob[self._class_start + 1 :])
        while self._groups:
            self._make_literal(self._groups.pop())
            self._check_size()
        self._flush()
        if self._escaping:
            self._source += "\\\\"
        may_begin_with_dot = self._source[:1] in (".", "[", "(")
        for group in reversed(self._negated):
            self._extend_lookahead(group)
            self._check_size()
        if self._source and self._magic:
            self._source = "(?=.)" + self._source
        if may_begin_with_dot and not self._glob.startswith("."):
            self._source = _NO_DOT + self._source
        return self._source, self._magic

    def _read(self, position: int, character: str) -> None:
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
                    first = position == self._class_start + 1
                    self._source += "^" if character == "!" and first else character
            case "(":
                self._open_group()
            case ")":
                self._close_group()
            case "|":
                self._read_bar()
            case "[":
                self._open_class(position)
            case "]":
                self._close_class(position)
            case _:
                self._flush()
                special = character in _SPECIALS and not (character == "^" and self._class_start is not None)
                self._source += "\\" + character if special and not self._escaping else character
                self._escaping = False

    def _flush(self) -> None:
        """Write the pending character, which did not open a group."""
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

    def _open_class(self, position: int) -> None:
        self._flush()
        if self._class_start is not None:
            self._source += "\\["
        else:
            self._class_start = position
            self._class_source = len(self._source)
            self._source += "["

    def _close_class(self, position: int) -> None:
        if self._class_start is None or position == self._class_start + 1:
            self._source += "\\]"
            self._escaping = False
            return
        content = self._glob[self._class_start + 1 : position]
        if is_regexp(f"[{content}]"):
            self._magic = True
            self._source += "]"
        else:
            self._reread_class(content)
            self._source += "\\]"
        self._class_start = None

    def _reread_class(self, content: str) -> None:
        """Make the bracket literal, and translate its content as a glob."""
        if content in ("", "**"):
            source, magic = "undefined", False
        else:
            self._budget.spend(_REREADING_COST * len(content))
            source, magic = _Translation(content, self._budget, self._depth + 1).result()
        self._source = self._source[: self._class_source] + "\\[" + source
        self._magic |= magic

    def _make_literal(self, group: _Group) -> None:
        """Make the opening of a group that is not closed literal, and the bars in it too."""
        self._budget.spend(len(self._source))
        rest = _BAR.sub(r"\1\1\\|", self._source[group.start + len(_OPENING[group.kind]) :])
        self._source = f"{self._source[: group.start]}{_ALONE[group.kind]}\\({rest}"
        self._magic = True

    def _extend_lookahead(self, group: _Group) -> None:
        """Paste the source after a negated group into its lookahead: it negates the group followed by the rest."""
        self._budget.spend(len(self._source))
        end_of_lookahead = group.end - len(_LOOKAHEAD_END)
        before, after = self._source[: group.start], self._source[group.end :]
        # The source after the group, without the ends of the groups that contain it.
        groups_before = before.count("(")
        followed_by = _GROUP_END.sub("", after, count=groups_before) if groups_before else after
        if not followed_by and self._depth == 0:
            followed_by = "$"
        self._source = (
            f"{before}{self._source[group.start : end_of_lookahead]}{followed_by}"
            f"{self._source[end_of_lookahead : group.end]}{after}"
        )

    def _check_size(self) -> None:
        if len(self._source) > MAX_SOURCE:
            raise Invalid("A pattern is too complex; simplify it, for example its negated groups.")
