"""The option `--slots`: a number of slots, or a range of numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass

import click


@dataclass(frozen=True)
class SlotRange:
    """Numbers of slots of a worker pool. They are equal if the number is fixed."""

    least: int
    most: int


class SlotsOption(click.ParamType[SlotRange]):
    """Parses `4` and `0..4`."""

    name = "slots"

    def convert(
        self, value: str | SlotRange, param: click.Parameter | None, context: click.Context | None
    ) -> SlotRange:
        if isinstance(value, SlotRange):
            return value
        parts = re.fullmatch(r"(\d{1,6})(?:\.\.(\d{1,6}))?", value)
        if parts is None or int(parts[1]) > int(parts[2] or parts[1]):
            self.fail(f"{value!r} must be a number of slots, such as 4, or a range, such as 0..4.", param, context)
        return SlotRange(int(parts[1]), int(parts[2] or parts[1]))
