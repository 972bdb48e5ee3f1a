"""`executor up --slots`: a number or a range."""

from __future__ import annotations

import click
import pytest

from cloud_executor.cli.commands.slots_option import SlotRange, SlotsOption


@pytest.mark.parametrize(("value", "least", "most"), [("0", 0, 0), ("4", 4, 4), ("0..4", 0, 4), ("2..2", 2, 2)])
def test_a_number_or_a_range(value: str, least: int, most: int) -> None:
    assert SlotsOption()(value) == SlotRange(least, most)


@pytest.mark.parametrize("value", ["2..1", "x", "-1", "1..", "..1", "1..2..3", "1.5", ""])
def test_other_values_are_rejected(value: str) -> None:
    with pytest.raises(click.BadParameter, match=r"must be a number of slots, such as 4, or a range, such as 0\.\.4\."):
        SlotsOption()(value)
