"""The syntax of JavaScript's regular expressions: ECMA-262 with annex B, without flags.

Validity matters, because minimatch compiles each character class and treats an invalid one as literal. Expressions are
strings of UTF-16 code units.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from enum import Enum, auto

from cloud_executor.errors import Invalid
from cloud_executor.model.documents.javascript import WHITE_SPACE

_MAX_DEPTH = 50

_REPETITION = re.compile(r"\{([0-9]+)(,?)([0-9]*)\}")
_NOT_PARENTHESIS = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|[^()]", re.DOTALL)
_GROUP_NAME = re.compile(r"<[A-Za-z_$][A-Za-z0-9_$]*>")
_CODE = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})")
_OCTAL = re.compile("[0-3][0-7]{0,2}|[4-7][0-7]?")
_CONTROLS = dict(zip("bfnrtv", "\b\f\n\r\t\v", strict=True))
_LAST = "\uffff"


class InvalidRegExp(Exception):
    """The string is not a valid regular expression in JavaScript."""


@dataclass(frozen=True, slots=True, eq=False)
class CharacterSet:
    """One character inside the ranges, or outside if negated."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    """All nodes, one after another."""

    items: list[Node]


@dataclass(frozen=True, slots=True)
class Choice:
    """Any one of the nodes."""

    options: list[Node]


@dataclass(frozen=True, slots=True)
class Repeat:
    """A node repeated: `?`, `*`, or `+`."""

    item: Node
    optional: bool
    """Whether zero repetitions match."""
    unbounded: bool
    """Whether more than one repetition matches."""


@dataclass(frozen=True, slots=True)
class Lookahead:
    """A position from which the node matches, or does not match if negated."""

    item: Node
    negated: bool


class Assertion(Enum):
    """A position with a property: `^`, `$`, `\\b`, or `\\B`."""

    START = auto()
    END = auto()
    WORD_BOUNDARY = auto()
    NOT_WORD_BOUNDARY = auto()


class Unsupported:
    """Valid syntax that minimatch hardly ever generates, and that this project does not match."""


Node = CharacterSet | Sequence | Choice | Repeat | Lookahead | Assertion | Unsupported

Ranges = tuple[tuple[str, str], ...]

NO_LINE_END = CharacterSet((("\n", "\n"), ("\r", "\r"), ("\u2028", "\u2029")), negated=True)
WORD = CharacterSet((("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z")))
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
def _character_set(ranges: Ranges, *, negated: bool = False) -> CharacterSet:
    """Equal sets are one object, so that a subject looks up their positions only once."""
    return CharacterSet(ranges, negated)


def parse_regexp(source: str) -> Node:
    """Parse an expression. Raises InvalidRegExp, and Invalid if its groups are nested too deeply."""
    return _Parser(source).parse()


def is_regexp(source: str) -> bool:
    """Whether the string is a valid expression. Raises Invalid if its groups are nested too deeply."""
    try:
        parse_regexp(source)
    except InvalidRegExp:
        return False
    return True


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._position = 0
        self._depth = 0

    def parse(self) -> Node:
        node = self._choice()
        if self._position < len(self._source):
            raise InvalidRegExp
        return node

    def _next(self) -> str:
        return self._source[self._position : self._position + 1]

    def _take(self, text: str) -> bool:
        taken = self._source.startswith(text, self._position)
        if taken:
            self._position += len(text)
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
            return Assertion.START
        if self._take("$"):
            return Assertion.END
        if self._take("\\b"):
            return Assertion.WORD_BOUNDARY
        if self._take("\\B"):
            return Assertion.NOT_WORD_BOUNDARY
        if self._take("(?<=") or self._take("(?<!"):
            self._group_rest()
            return Unsupported()
        return self._quantified(self._atom())

    def _atom(self) -> Node:
        if self._take("("):
            return self._group()
        if self._take("["):
            return self._class()
        if self._take("."):
            return NO_LINE_END
        if self._next() in "*+?" or _REPETITION.match(self._source, self._position):
            raise InvalidRegExp
        if self._take("\\"):
            return _character_set(self._escape(in_class=False))
        return _character_set((self._character(),))

    def _character(self) -> tuple[str, str]:
        character = self._next()
        if not character:
            raise InvalidRegExp
        self._position += 1
        return character, character

    def _escape(self, *, in_class: bool) -> Ranges:
        """The characters that an escape matches. Patterns have no capturing groups, so \\1 is a character."""
        if code := _CODE.match(self._source, self._position):
            self._position = code.end()
            character = chr(int(code[1] or code[2], 16))
            return ((character, character),)
        if octal := _OCTAL.match(self._source, self._position):
            self._position = octal.end()
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
                self._position += 1
                return ((chr(ord(letter) % 32), chr(ord(letter) % 32)),)
            self._position -= 1
            return (("\\", "\\"),)
        return single

    def _quantified(self, atom: Node) -> Node:
        node = atom
        if self._take("*"):
            node = Repeat(atom, optional=True, unbounded=True)
        elif self._take("+"):
            node = Repeat(atom, optional=False, unbounded=True)
        elif self._take("?"):
            node = Repeat(atom, optional=True, unbounded=False)
        elif repetition := _REPETITION.match(self._source, self._position):
            self._position = repetition.end()
            if repetition[3] and float(repetition[3]) < float(repetition[1]):
                raise InvalidRegExp
            node = Unsupported()
        if node is not atom:
            # A lazy quantifier changes what is captured, not whether the expression matches.
            self._take("?")
        return node

    def _group(self) -> Node:
        if self._take("?:"):
            return self._group_rest()
        if self._take("?="):
            return Lookahead(self._group_rest(), negated=False)
        if self._take("?!"):
            return Lookahead(self._group_rest(), negated=True)
        if self._take("?"):
            name = _GROUP_NAME.match(self._source, self._position)
            if name is None:
                raise InvalidRegExp
            self._position = name.end()
        return self._group_rest()

    def _group_rest(self) -> Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            parentheses = _NOT_PARENTHESIS.sub("", self._source)
            if parentheses.count("(") != parentheses.count(")"):
                raise InvalidRegExp
            raise Invalid("The groups of a pattern are nested too deeply.")
        node = self._choice()
        if not self._take(")"):
            raise InvalidRegExp
        self._depth -= 1
        return node

    def _class(self) -> Node:
        negated = self._take("^")
        ranges: list[tuple[str, str]] = []
        while not self._take("]"):
            atoms = [self._class_atom()]
            if self._next() == "-" and not self._source.startswith("-]", self._position):
                self._position += 1
                atoms.append(self._class_atom())
            (first, _), (_, last) = atoms[0][0], atoms[-1][-1]
            if all(len(atom) == 1 and atom[0][0] == atom[0][1] for atom in atoms):
                if first > last:
                    raise InvalidRegExp
                ranges.append((first, last))
            else:
                # A range to or from a set is read as the set, a dash, and the other end.
                ranges += [item for atom in atoms for item in atom]
                ranges += [("-", "-")] * (len(atoms) - 1)
        return _character_set(tuple(ranges), negated=negated)

    def _class_atom(self) -> Ranges:
        return self._escape(in_class=True) if self._take("\\") else (self._character(),)
