"""Rows of figures, their limits and targets, and the printed table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.limits import Limit


@dataclass(frozen=True, slots=True)
class Target:
    """The required value of a figure: a bound in the figure's unit, or a share of the machine's limit."""

    bound: float
    of_limit: bool = False

    def description(self, *, higher_is_better: bool) -> str:
        if self.of_limit:
            return f"≥ {self.bound:.0%} of the limit"
        return f"{'≥' if higher_is_better else '≤'} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure that a case measures."""

    key: str
    """Key of the figure's value in the mapping that the case yields."""
    title: str
    unit: str
    """Unit of the figure. Higher is better for a unit that ends in `/s`; lower is better for any other."""
    limits: tuple[Limit, ...] = ()
    """Limits of the machine; the tightest one counts."""
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
    values: dict[str, list[float]] = field(default_factory=dict)
    """Measured values by the name of the side."""
    limits: dict[str, list[float]] = field(default_factory=dict)
    """Measured limits by the name of the limit."""

    def median(self, side: str) -> float | None:
        return statistics.median(self.values[side]) if self.values.get(side) else None

    def limit(self) -> tuple[str, float] | None:
        """Name and median of the tightest limit."""
        medians = [(name, statistics.median(values)) for name, values in self.limits.items() if values]
        if not medians:
            return None
        return min(medians, key=lambda limit: limit[1] if self.row.higher_is_better else -limit[1])

    def share_of_limit(self, side: str) -> float | None:
        """Share of the machine's limit that the side achieves; 1 is the whole limit."""
        value, limit = self.median(side), self.limit()
        return self._ratio(value, limit[1]) if limit else None

    def met(self, side: str) -> bool | None:
        """Whether the side meets the target; None without a target or a measured value."""
        target, value = self.row.target, self.median(side)
        if target is None or value is None:
            return None
        if target.of_limit:
            share = self.share_of_limit(side)
            return None if share is None else share >= target.bound
        return value >= target.bound if self.row.higher_is_better else value <= target.bound

    def times_better(self, side: str, peer: str) -> float | None:
        return self._ratio(self.median(side), self.median(peer))

    def _ratio(self, value: float | None, other: float | None) -> float | None:
        """How many times better `value` is than `other`."""
        if not value or not other:
            return None
        return value / other if self.row.higher_is_better else other / value


def table(results: Sequence[Result], side: str, peers: Sequence[str]) -> str:
    """All results as a Markdown table, one line per figure."""
    head = ["case", "figure", "unit", side, "machine limit", "of limit", "target", ""]
    lines = [head + [title for peer in peers for title in (peer, f"{side} is better")]]
    for result in results:
        limit, share, met = result.limit(), result.share_of_limit(side), result.met(side)
        target = result.row.target
        line = [
            *(result.case, result.row.title, result.row.unit, _cell(result.values.get(side, []))),
            f"{_number(limit[1], limit[1])} {limit[0]}" if limit else "",
            f"{share:.0%}" if share is not None else "",
            target.description(higher_is_better=result.row.higher_is_better) if target else "",
            {True: "met", False: "MISSED", None: ""}[met],
        ]
        for peer in peers:
            times = result.times_better(side, peer)
            line += [_cell(result.values.get(peer, [])), f"{times:.2f} x" if times is not None else ""]
        lines.append(line)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def verdict(results: Sequence[Result], side: str, peers: Sequence[str]) -> str:
    """A summary in a few sentences: the targets met and missed, and the figures on which a peer is faster."""
    judged = [result for result in results if result.met(side) is not None]
    missed = [result.row.title for result in judged if not result.met(side)]
    sentences = [f"{len(judged) - len(missed)} of {len(judged)} targets met."]
    if missed:
        sentences.append(f"Missed: {'; '.join(missed)}.")
    for peer in peers:
        compared = [(r, r.times_better(side, peer)) for r in results if r.row.is_speed]
        slower = [r.row.title for r, times in compared if times is not None and times < 1]
        sentences.append(f"Slower than {peer}: {'; '.join(slower) or 'nothing'}.")
    return " ".join(sentences)


def as_json(results: Sequence[Result], side: str) -> list[Mapping[str, object]]:
    """The results as JSON, with the values of each repetition."""
    return [
        {
            "case": result.case,
            "figure": result.row.title,
            "unit": result.row.unit,
            "better": "higher" if result.row.higher_is_better else "lower",
            "values": result.values,
            "limits": result.limits,
            "target": result.row.target.description(higher_is_better=result.row.higher_is_better)
            if result.row.target
            else None,
            "met": result.met(side),
        }
        for result in results
    ]


def _cell(values: Sequence[float]) -> str:
    """The median, with the lowest and the highest value if there are several."""
    if not values:
        return ""
    median = _number(statistics.median(values), max(values))
    if len(values) == 1:
        return median
    return f"{median} [{_number(min(values), max(values))}–{_number(max(values), max(values))}]"


def _number(value: float, largest: float) -> str:
    return f"{value:,.{0 if largest >= 100 else 1 if largest >= 10 else 2}f}"
