"""The syntax of JavaScript's regular expressions: ECMA-262 with its annex B, without flags.

Which texts are valid is part of what minimatch does: it tries its character classes, and takes those that are not valid
as names. Expressions are texts of UTF-16 code units.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from enum import Enum, auto

from cloud_executor.errors import Invalid
from cloud_executor.model.javascript import WHITE_SPACE

_MAX_DEPTH = 50

_REPETITION = re.compile(r"\{([0-9]+)(,?)([0-9]*)\}")
_NO_BRACKET = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|[^()]", re.DOTALL)
_GROUP_NAME = re.compile(r"<[A-Za-z_$][A-Za-z0-9_$]*>")
_CODE = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})")
_OCTAL = re.compile("[0-3][0-7]{0,2}|[4-7][0-7]?")
_CONTROLS = dict(zip("bfnrtv", "\b\f\n\r\t\v", strict=True))
_LAST = "\uffff"


class NotARegExp(Exception):
    """JavaScript does not take this text as a regular expression."""


@dataclass(frozen=True, slots=True, eq=False)
class Set:
    """One character, from these ranges or from outside of them."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    """One node after the other."""

    items: list[Node]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the nodes."""

    options: list[Node]


@dataclass(frozen=True, slots=True)
class Repeat:
    """A node once, or more or less often."""

    item: Node
    optional: bool
    """also not at all"""
    endless: bool
    """also more than once"""


@dataclass(frozen=True, slots=True)
class Look:
    """A lookahead: whether the node matches from here on."""

    item: Node
    negated: bool


class Other(Enum):
    """Nodes without parts."""

    START = auto()
    END = auto()
    WORD_BOUNDARY = auto()
    NO_WORD_BOUNDARY = auto()
    UNSUPPORTED = auto()
    """valid, but hardly ever what minimatch makes of a pattern"""


Node = Set | Sequence | Choice | Repeat | Look | Other

Ranges = tuple[tuple[str, str], ...]

NO_LINE_END = Set((("\n", "\n"), ("\r", "\r"), ("\u2028", "\u2029")), negated=True)
WORD = Set((("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z")))
_ESCAPED_SETS: dict[str, Ranges] = {
    "d": (("0", "9"),),
    "w": WORD.ranges,
    "s": tuple((character, character) for character in sorted(WHITE_SPACE)),
}


def _all_but(ranges: Ranges) -> Ranges:
    firsts = ["\0", *(chr(ord(last) + 1) for _, last in ranges)]
    lasts = [*(chr(ord(first) - 1) for first, _ in ranges), _LAST]
    return tuple((first, last) for first, last in zip(firsts, lasts, strict=True) if first <= last)


@functools.lru_cache(maxsize=1024)
def _set(ranges: Ranges, *, negated: bool = False) -> Set:
    """Equal sets are one, so that where they stand in a text is looked up once."""
    return Set(ranges, negated)


def parse_regexp(source: str) -> Node:
    """What the expression consists of. Raises NotARegExp, and Invalid if it is nested too deeply."""
    return _Parser(source).parse()


def is_regexp(source: str) -> bool:
    """Whether JavaScript takes this text as a regular expression. Raises Invalid if it is nested too deeply."""
    try:
        parse_regexp(source)
    except NotARegExp:
        return False
    return True


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._place = 0
        self._depth = 0

    def parse(self) -> Node:
        node = self._choice()
        if self._place < len(self._source):
            raise NotARegExp
        return node

    def _next(self) -> str:
        return self._source[self._place : self._place + 1]

    def _take(self, text: str) -> bool:
        taken = self._source.startswith(text, self._place)
        if taken:
            self._place += len(text)
        return taken

    def _choice(self) -> Node:
        options = [self._sequence()]
        while self._take("|"):
            options.append(self._sequence())
        return options[0] if len(options) == 1 else Choice(options)

    def _sequence(self) -> Node:
        items: list[Node] = []
        while self._next() not in ("", "|", ")"):
            items.append(self._term())
        return items[0] if len(items) == 1 else Sequence(items)

    def _term(self) -> Node:
        if self._take("^"):
            return Other.START
        if self._take("$"):
            return Other.END
        if self._take("\\b"):
            return Other.WORD_BOUNDARY
        if self._take("\\B"):
            return Other.NO_WORD_BOUNDARY
        if self._take("(?<=") or self._take("(?<!"):
            self._group_rest()
            return Other.UNSUPPORTED
        return self._quantified(self._atom())

    def _atom(self) -> Node:
        if self._take("("):
            return self._group()
        if self._take("["):
            return self._class()
        if self._take("."):
            return NO_LINE_END
        if self._next() in "*+?" or _REPETITION.match(self._source, self._place):
            raise NotARegExp
        if self._take("\\"):
            return _set(self._escape(in_class=False))
        return _set((self._character(),))

    def _character(self) -> tuple[str, str]:
        character = self._next()
        if not character:
            raise NotARegExp
        self._place += 1
        return character, character

    def _escape(self, *, in_class: bool) -> Ranges:
        """What an escape stands for. Without groups that capture, \\1 is a character."""
        if code := _CODE.match(self._source, self._place):
            self._place = code.end()
            character = chr(int(code[1] or code[2], 16))
            return ((character, character),)
        if octal := _OCTAL.match(self._source, self._place):
            self._place = octal.end()
            character = chr(int(octal[0], 8))
            return ((character, character),)
        ((character, _),) = single = (self._character(),)
        if character.lower() in _ESCAPED_SETS:
            ranges = _ESCAPED_SETS[character.lower()]
            return ranges if character.islower() else _all_but(ranges)
        if character in _CONTROLS:
            return ((_CONTROLS[character], _CONTROLS[character]),)
        if character == "c":
            letter = self._next()
            if letter.isascii() and (letter.isalpha() or (in_class and (letter.isdigit() or letter == "_"))):
                self._place += 1
                return ((chr(ord(letter) % 32), chr(ord(letter) % 32)),)
            self._place -= 1
            return (("\\", "\\"),)
        return single

    def _quantified(self, atom: Node) -> Node:
        node = atom
        if self._take("*"):
            node = Repeat(atom, optional=True, endless=True)
        elif self._take("+"):
            node = Repeat(atom, optional=False, endless=True)
        elif self._take("?"):
            node = Repeat(atom, optional=True, endless=False)
        elif repetition := _REPETITION.match(self._source, self._place):
            self._place = repetition.end()
            if repetition[3] and float(repetition[3]) < float(repetition[1]):
                raise NotARegExp
            node = Other.UNSUPPORTED
        if node is not atom:
            # Whether it prefers few or many decides what is captured, not whether it matches.
            self._take("?")
        return node

    def _group(self) -> Node:
        if self._take("?:"):
            return self._group_rest()
        if self._take("?="):
            return Look(self._group_rest(), negated=False)
        if self._take("?!"):
            return Look(self._group_rest(), negated=True)
        if self._take("?"):
            name = _GROUP_NAME.match(self._source, self._place)
            if name is None:
                raise NotARegExp
            self._place = name.end()
        return self._group_rest()

    def _group_rest(self) -> Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            brackets = _NO_BRACKET.sub("", self._source)
            if brackets.count("(") != brackets.count(")"):
                raise NotARegExp
            raise Invalid("The groups of a pattern are nested too deeply.")
        node = self._choice()
        if not self._take(")"):
            raise NotARegExp
        self._depth -= 1
        return node

    def _class(self) -> Node:
        negated = self._take("^")
        ranges: list[tuple[str, str]] = []
        while not self._take("]"):
            atoms = [self._class_atom()]
            if self._next() == "-" and not self._source.startswith("-]", self._place):
                self._place += 1
                atoms.append(self._class_atom())
            (first, _), (_, last) = atoms[0][0], atoms[-1][-1]
            if all(len(atom) == 1 and atom[0][0] == atom[0][1] for atom in atoms):
                if first > last:
                    raise NotARegExp
                ranges.append((first, last))
            else:
                # There is no range to or from a set: what looks like one is the set, a dash and the other.
                ranges += [item for atom in atoms for item in atom]
                ranges += [("-", "-")] * (len(atoms) - 1)
        return _set(tuple(ranges), negated=negated)

    def _class_atom(self) -> Ranges:
        return self._escape(in_class=True) if self._take("\\") else (self._character(),)
