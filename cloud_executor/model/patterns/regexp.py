"""Match the JavaScript regular expressions that minimatch generates, in bounded time.

Python's `re` has another syntax, and it backtracks: a pattern of a few characters can keep it busy for years. Here, an
expression becomes a state machine that follows all alternatives at once. A set of positions in the subject, stored as
the bits of an integer, passes through the machine from the end of the expression to its start. That direction finds all
positions at which a lookahead holds in one pass. The time is at most proportional to the size of the machine and to the
square of the subject's length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from heapq import heappop, heappush

from cloud_executor.errors import Invalid
from cloud_executor.model.patterns.regexp_syntax import (
    NO_LINE_END,
    WORD,
    Assertion,
    CharacterSet,
    Choice,
    Lookahead,
    Node,
    Repeat,
    Sequence,
    Unsupported,
    parse_regexp,
)


class _Operation(Enum):
    """What a state does with positions before it passes them on. "Before a character" means immediately before it."""

    STEP = auto()
    """Move back over one of the characters."""
    RUN = auto()
    """Move back over any number of the characters."""
    FORK = auto()
    """Pass the positions on to two states."""
    CHECK = auto()
    """Keep the positions before one of the characters."""
    LOOKAHEAD = auto()
    """Keep the positions at which the lookahead's own states, started from all positions, arrive."""
    START = auto()
    END = auto()
    WORD_BOUNDARY = auto()


@dataclass(slots=True)
class _State:
    operation: _Operation
    next: int
    characters: CharacterSet = NO_LINE_END
    branch: int = 0
    """Second state after a fork, or first state of a lookahead."""
    negated: bool = False


_FINAL = -1

STEPS_PER_RANGE = 10
"""Steps for finding the characters of a range in a subject."""


class Subject:
    """A string of UTF-16 code units that is matched with several expressions."""

    __slots__ = ("_positions", "_text", "length", "matched", "spend")

    def __init__(self, text: str, spend: Callable[[int], None] = lambda steps: None) -> None:
        self.length = len(text)
        self.spend = spend
        """Called with the number of steps of each part of the work."""
        self._text = text
        self._positions: dict[CharacterSet, int] = {}
        self.matched: dict[RegExp, bool] = {}
        """Cached results."""

    @property
    def cached(self) -> int:
        """Number of cached results."""
        return len(self._positions) + len(self.matched)

    def positions(self, characters: CharacterSet) -> int:
        """The positions before one of these characters."""
        found = self._positions.get(characters)
        if found is None:
            found = 0
            self.spend(STEPS_PER_RANGE * len(characters.ranges))
            for first, last in characters.ranges:
                for character in first if first == last else {c for c in self._text if first <= c <= last}:
                    found |= self._positions_of(character)
            if characters.negated:
                found ^= (1 << self.length) - 1
            self._positions[characters] = found
        return found

    def _positions_of(self, character: str) -> int:
        found = 0
        position = self._text.find(character)
        while position >= 0:
            found |= 1 << position
            position = self._text.find(character, position + 1)
        return found


class RegExp:
    """A regular expression without flags, for strings of UTF-16 code units.

    Raises InvalidRegExp, and Invalid for unsupported syntax.
    """

    def __init__(self, source: str) -> None:
        self._states: list[_State] = []
        self._entry = self._add(parse_regexp(source), _FINAL)

    def matches(self, subject: Subject) -> bool:
        """Whether the expression matches anywhere in the subject."""
        found = subject.matched.get(self)
        if found is None:
            found = subject.matched[self] = self._run(self._entry, subject, {}) != 0
        return found

    def _add(self, node: Node, next_state: int) -> int:
        """Add the states for a node. Returns the first one, which takes the positions after what the node matches."""
        match node:
            case CharacterSet():
                return self._new(_State(_Operation.STEP, next_state, node))
            case Sequence(items):
                for item in items:
                    next_state = self._add(item, next_state)
                return next_state
            case Choice(options):
                first, *others = [self._add(option, next_state) for option in options]
                for other in others:
                    first = self._new(_State(_Operation.FORK, first, branch=other))
                return first
            case Repeat(CharacterSet() as characters, optional, unbounded=True):
                run = self._new(_State(_Operation.RUN, next_state, characters))
                return run if optional else self._new(_State(_Operation.STEP, run, characters))
            case Repeat(item, optional, unbounded):
                fork = self._new(_State(_Operation.FORK, next_state))
                body = self._add(item, fork if unbounded else next_state)
                self._states[fork].branch = body
                return fork if optional else body
            case Lookahead(CharacterSet() as characters, negated):
                return self._new(_State(_Operation.CHECK, next_state, characters, negated=negated))
            case Lookahead(item, negated):
                branch = self._add(item, _FINAL)
                return self._new(_State(_Operation.LOOKAHEAD, next_state, branch=branch, negated=negated))
            case Assertion.START:
                return self._new(_State(_Operation.START, next_state))
            case Assertion.END:
                return self._new(_State(_Operation.END, next_state))
            case Assertion.WORD_BOUNDARY | Assertion.NOT_WORD_BOUNDARY:
                negated = node is Assertion.NOT_WORD_BOUNDARY
                return self._new(_State(_Operation.WORD_BOUNDARY, next_state, negated=negated))
            case Unsupported():
                raise Invalid("A pattern combines negated groups and braces in an unsupported way; simplify it.")

    def _new(self, state: _State) -> int:
        self._states.append(state)
        return len(self._states) - 1

    def _run(self, entry: int, subject: Subject, lookaheads: dict[int, int]) -> int:
        """The positions that arrive at the final state if all positions enter the machine at `entry`."""
        forked: dict[int, int] = {}
        waiting = {entry: (1 << subject.length + 1) - 1}
        order = [-entry]
        while order:
            # Except in loops, the next state has a lower number, so all positions of a state are processed together.
            number = -heappop(order)
            subject.spend(1)
            positions = waiting.pop(number)
            if number == _FINAL:
                return positions
            state = self._states[number]
            next_states: tuple[int, ...] = (state.next,)
            if state.operation is _Operation.FORK:
                # A position passes a fork only once, otherwise loops would not end.
                positions &= ~forked.get(number, 0)
                forked[number] = forked.get(number, 0) | positions
                next_states = (state.next, state.branch)
            else:
                positions = self._apply(number, positions, subject, lookaheads)
            if positions:
                for next_state in next_states:
                    if next_state not in waiting:
                        heappush(order, -next_state)
                    waiting[next_state] = waiting.get(next_state, 0) | positions
        return 0

    def _apply(self, number: int, positions: int, subject: Subject, lookaheads: dict[int, int]) -> int:
        """The positions that a state passes on."""
        state = self._states[number]
        match state.operation:
            case _Operation.STEP:
                return positions >> 1 & subject.positions(state.characters)
            case _Operation.RUN:
                return _move_back(positions, subject.positions(state.characters), subject)
            case _Operation.CHECK:
                kept = subject.positions(state.characters)
            case _Operation.LOOKAHEAD:
                if number not in lookaheads:
                    lookaheads[number] = self._run(state.branch, subject, lookaheads)
                kept = lookaheads[number]
            case _Operation.START:
                kept = 1
            case _Operation.END:
                kept = 1 << subject.length
            case _Operation.WORD_BOUNDARY:
                words = subject.positions(WORD)
                kept = words ^ words << 1
        return positions & ~kept if state.negated else positions & kept


def _move_back(positions: int, allowed: int, subject: Subject) -> int:
    """The positions that any number of steps back over the allowed positions can reach."""
    if allowed == (1 << subject.length) - 1:
        return (1 << positions.bit_length()) - 1
    new = positions
    while new:
        subject.spend(1)
        new = new >> 1 & allowed & ~positions
        positions |= new
    return positions
