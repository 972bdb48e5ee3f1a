"""Rows of figures, what they are compared with, and how they are printed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.limits import Limit


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should be: a bound in its own unit, or a share of the machine's limit."""

    bound: float
    of_limit: bool = False

    def text(self, *, higher_is_better: bool) -> str:
        if self.of_limit:
            return f"≥ {self.bound:.0%} of limit"
        return f"{'≥' if higher_is_better else '≤'} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure that a case measures."""

    key: str  # in what the case yields
    title: str
    unit: str  # a rate ends in /s and should be high; anything else should be low
    limits: tuple[Limit, ...] = ()  # the worst of them counts
    target: Target | None = None

    @property
    def higher_is_better(self) -> bool:
        return self.unit.endswith("/s")

    @property
    def is_speed(self) -> bool:
        return self.higher_is_better or self.unit == "ms"


@dataclass(slots=True)
class Result:
    """A row with the values of all repetitions."""

    case: str
    row: Row
    values: dict[str, list[float]] = field(default_factory=dict)  # by side
    limits: dict[str, list[float]] = field(default_factory=dict)  # by name

    def median(self, side: str) -> float | None:
        return statistics.median(self.values[side]) if self.values.get(side) else None

    def limit(self) -> tuple[str, float] | None:
        """The name and median of the limit that binds."""
        medians = [(name, statistics.median(values)) for name, values in self.limits.items() if values]
        if not medians:
            return None
        return min(medians, key=lambda limit: limit[1] if self.row.higher_is_better else -limit[1])

    def share_of_limit(self, side: str) -> float | None:
        """1 is all that the machine can do."""
        value, limit = self.median(side), self.limit()
        return self._better(value, limit[1]) if limit else None

    def reached(self, side: str) -> bool | None:
        """None: there is no target, or nothing was measured."""
        target, value = self.row.target, self.median(side)
        if target is None or value is None:
            return None
        if target.of_limit:
            share = self.share_of_limit(side)
            return None if share is None else share >= target.bound
        return value >= target.bound if self.row.higher_is_better else value <= target.bound

    def times_better(self, side: str, peer: str) -> float | None:
        return self._better(self.median(side), self.median(peer))

    def _better(self, value: float | None, than: float | None) -> float | None:
        if not value or not than:
            return None
        return value / than if self.row.higher_is_better else than / value


def table(results: Sequence[Result], side: str, peer: str | None) -> str:
    """Everything measured, one line a figure."""
    head = ["case", "figure", "unit", side, "limit of the machine", "of limit", "target", ""]
    lines = [head + ([peer, f"{side} is better"] if peer else [])]
    for result in results:
        limit, share, reached = result.limit(), result.share_of_limit(side), result.reached(side)
        target = result.row.target
        line = [
            *(result.case, result.row.title, result.row.unit, _cell(result.values.get(side, []))),
            f"{_number(limit[1], limit[1])} {limit[0]}" if limit else "",
            f"{share:.0%}" if share is not None else "",
            target.text(higher_is_better=result.row.higher_is_better) if target else "",
            {True: "reached", False: "NOT REACHED", None: ""}[reached],
        ]
        if peer:
            times = result.times_better(side, peer)
            line += [_cell(result.values.get(peer, [])), f"{times:.2f} x" if times is not None else ""]
        lines.append(line)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def verdict(results: Sequence[Result], side: str, peer: str | None) -> str:
    """What was reached and what was not, in a few sentences."""
    judged = [result for result in results if result.reached(side) is not None]
    missed = [result.row.title for result in judged if not result.reached(side)]
    sentences = [f"{len(judged) - len(missed)} of {len(judged)} targets reached."]
    if missed:
        sentences.append(f"Not reached: {'; '.join(missed)}.")
    if peer:
        compared = [(r, r.times_better(side, peer)) for r in results if r.row.is_speed]
        slower = [r.row.title for r, times in compared if times is not None and times < 1]
        sentences.append(f"Slower than {peer}: {'; '.join(slower) or 'nothing'}.")
    return " ".join(sentences)


def as_json(results: Sequence[Result], side: str) -> list[Mapping[str, object]]:
    """The same with the values of each repetition."""
    return [
        {
            "case": result.case,
            "figure": result.row.title,
            "unit": result.row.unit,
            "better": "higher" if result.row.higher_is_better else "lower",
            "values": result.values,
            "limits": result.limits,
            "target": result.row.target.text(higher_is_better=result.row.higher_is_better)
            if result.row.target
            else None,
            "reached": result.reached(side),
        }
        for result in results
    ]


def _cell(values: Sequence[float]) -> str:
    """The median, with the lowest and the highest of several."""
    if not values:
        return ""
    text = _number(statistics.median(values), max(values))
    if len(values) == 1:
        return text
    return f"{text} [{_number(min(values), max(values))}–{_number(max(values), max(values))}]"


def _number(value: float, largest: float) -> str:
    return f"{value:,.{0 if largest >= 100 else 1 if largest >= 10 else 2}f}"
