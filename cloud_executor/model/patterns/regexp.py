"""JavaScript's regular expressions, as far as minimatch makes them: does a text match, in bounded time.

Python's `re` takes other texts as valid, and backtracks: a pattern of a few characters can keep it busy for years. Here
an expression becomes a machine that follows all ways at once. A set of places in the text, kept as the bits of a
number, goes through it from the end of the expression to its start, so the places where a lookahead holds are found in
one go, too. At worst the work grows with the size of the machine and the square of the text's length, never faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from heapq import heappop, heappush

from cloud_executor.errors import Invalid
from cloud_executor.model.patterns.regexp_syntax import (
    NO_LINE_END,
    WORD,
    Choice,
    Look,
    Node,
    Other,
    Repeat,
    Sequence,
    Set,
    parse_regexp,
)


class _Does(Enum):
    """What a state does with the places that come to it, before they go on to the state that follows."""

    STEP = auto()
    """back over one of the characters"""
    RUN = auto()
    """back over any number of the characters"""
    FORK = auto()
    """two ways"""
    CHECK = auto()
    """keep those before one of the characters"""
    LOOK = auto()
    """keep those where the other way, gone backwards from anywhere, ends"""
    START = auto()
    END = auto()
    BOUNDARY = auto()


@dataclass(slots=True)
class _State:
    does: _Does
    follow: int
    characters: Set = NO_LINE_END
    other: int = 0
    negated: bool = False


_ARRIVED = -1


class Subject:
    """A text, of UTF-16 code units, to be matched with several expressions."""

    __slots__ = ("_text", "_where", "length", "matched")

    def __init__(self, text: str) -> None:
        self.length = len(text)
        self._text = text
        self._where: dict[Set, int] = {}
        self.matched: dict[RegExp, bool] = {}
        """what is known of it already"""

    def where(self, characters: Set) -> int:
        """The places before one of these characters."""
        found = self._where.get(characters)
        if found is None:
            found = 0
            for first, last in characters.ranges:
                for character in first if first == last else {c for c in self._text if first <= c <= last}:
                    found |= self._places(character)
            if characters.negated:
                found ^= (1 << self.length) - 1
            self._where[characters] = found
        return found

    def _places(self, character: str) -> int:
        found = 0
        place = self._text.find(character)
        while place >= 0:
            found |= 1 << place
            place = self._text.find(character, place + 1)
        return found


class RegExp:
    """An expression without flags; texts are of UTF-16 code units.

    Raises NotARegExp, and Invalid for what is not supported.
    """

    def __init__(self, source: str) -> None:
        self._states: list[_State] = []
        self._entry = self._add(parse_regexp(source), _ARRIVED)

    def matches(self, subject: Subject) -> bool:
        """Whether the expression matches anywhere in the text."""
        found = subject.matched.get(self)
        if found is None:
            found = subject.matched[self] = self._lead(self._entry, subject, {}) != 0
        return found

    def _add(self, node: Node, follow: int) -> int:
        """Add the states for a node; the first of them, which takes the places after what it matches."""
        match node:
            case Set():
                return self._new(_State(_Does.STEP, follow, node))
            case Sequence(items):
                for item in items:
                    follow = self._add(item, follow)
                return follow
            case Choice(options):
                first, *others = [self._add(option, follow) for option in options]
                for other in others:
                    first = self._new(_State(_Does.FORK, first, other=other))
                return first
            case Repeat(Set() as characters, optional, endless=True):
                run = self._new(_State(_Does.RUN, follow, characters))
                return run if optional else self._new(_State(_Does.STEP, run, characters))
            case Repeat(item, optional, endless):
                fork = self._new(_State(_Does.FORK, follow))
                body = self._add(item, fork if endless else follow)
                self._states[fork].other = body
                return fork if optional else body
            case Look(Set() as characters, negated):
                return self._new(_State(_Does.CHECK, follow, characters, negated=negated))
            case Look(item, negated):
                return self._new(_State(_Does.LOOK, follow, other=self._add(item, _ARRIVED), negated=negated))
            case Other.START:
                return self._new(_State(_Does.START, follow))
            case Other.END:
                return self._new(_State(_Does.END, follow))
            case Other.WORD_BOUNDARY | Other.NO_WORD_BOUNDARY:
                negated = node is Other.NO_WORD_BOUNDARY
                return self._new(_State(_Does.BOUNDARY, follow, WORD, negated=negated))
            case Other.UNSUPPORTED:
                raise Invalid("A pattern combines negated groups and braces in a way that is not supported.")

    def _new(self, state: _State) -> int:
        self._states.append(state)
        return len(self._states) - 1

    def _lead(self, entry: int, subject: Subject, looks: dict[int, int]) -> int:
        """Where the way that begins at this state arrives, from all places in the text."""
        been: dict[int, int] = {}
        waiting = {entry: (1 << subject.length + 1) - 1}
        order = [-entry]
        while order:
            # What follows has lower numbers, but for loops: so whatever comes to a state comes to it at once.
            number = -heappop(order)
            places = waiting.pop(number)
            if number == _ARRIVED:
                return places
            state = self._states[number]
            ways: tuple[int, ...] = (state.follow,)
            if state.does is _Does.FORK:
                # A place goes through a fork once, else loops would not end.
                places &= ~been.get(number, 0)
                been[number] = been.get(number, 0) | places
                ways = (state.follow, state.other)
            else:
                places = self._through(number, places, subject, looks)
            if places:
                for way in ways:
                    if way not in waiting:
                        heappush(order, -way)
                    waiting[way] = waiting.get(way, 0) | places
        return 0

    def _through(self, number: int, places: int, subject: Subject, looks: dict[int, int]) -> int:
        """The places that go on from this state."""
        state = self._states[number]
        match state.does:
            case _Does.STEP:
                return places >> 1 & subject.where(state.characters)
            case _Does.RUN:
                return _run(places, subject.where(state.characters), subject.length)
            case _Does.CHECK:
                where = subject.where(state.characters)
            case _Does.LOOK:
                if number not in looks:
                    looks[number] = self._lead(state.other, subject, looks)
                where = looks[number]
            case _Does.START:
                where = 1
            case _Does.END:
                where = 1 << subject.length
            case _Does.BOUNDARY:
                words = subject.where(WORD)
                where = words ^ words << 1
        return places & ~where if state.negated else places & where


def _run(places: int, where: int, length: int) -> int:
    if where == (1 << length) - 1:
        return (1 << places.bit_length()) - 1
    new = places
    while new:
        new = new >> 1 & where & ~places
        places |= new
    return places
