"""Tests for the clock of the embedded backends."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cloud_executor.backends.sqlite import clock as module
from cloud_executor.backends.sqlite.clock import open_boot_clock
from cloud_executor.errors import Unavailable

SECOND = timedelta(seconds=1)


def test_it_shows_the_wall_time_at_first(tmp_path: Path) -> None:
    assert abs(open_boot_clock(tmp_path / "data")() - datetime.now(UTC)) < SECOND


def test_all_processes_share_it_although_the_wall_clock_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_boot_clock(tmp_path)
    actual = time.time
    monkeypatch.setattr(time, "time", lambda: actual() - 3600)
    assert abs(open_boot_clock(tmp_path)() - before()) < SECOND


def test_it_is_set_again_after_a_start_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / module.FILE).write_text("another-boot 12345.0\n")
    clock = open_boot_clock(tmp_path)
    assert abs(clock() - datetime.now(UTC)) < SECOND
    assert abs(open_boot_clock(tmp_path)() - clock()) < SECOND


@pytest.mark.parametrize("content", ["", "damaged", "a b c"])
def test_a_damaged_file_is_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / module.FILE).write_text(content)
    assert abs(open_boot_clock(tmp_path)() - datetime.now(UTC)) < SECOND


def test_a_system_without_boot_ids_has_the_wall_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BOOT_ID", tmp_path / "missing")
    assert abs(open_boot_clock(tmp_path)() - datetime.now(UTC)) < SECOND


def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable):
        open_boot_clock(tmp_path / "file")
