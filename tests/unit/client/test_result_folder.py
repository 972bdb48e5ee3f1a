"""Result files that move to a folder when all of them can."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from cloud_executor.client.results import folder as result_folder
from cloud_executor.client.results.folder import staged


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_nothing_moves_if_one_folder_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b").mkdir()
    # Root may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "b")
    with pytest.raises(PermissionError) as caught, staged(tmp_path) as folder:
        (folder / "b").mkdir()
        (folder / "a.txt").touch()
        (folder / "b/c.txt").touch()
    assert caught.value.filename == str(tmp_path / "b")
    assert names(tmp_path) == []


def test_a_signal_waits_until_all_files_have_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(source: Path, target: Path) -> None:
        signal.raise_signal(signal.SIGINT)
        replace(source, target)

    replace = os.replace
    monkeypatch.setattr(result_folder.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), staged(tmp_path) as folder:
        for name in "abc":
            (folder / name).touch()
    assert names(tmp_path) == ["a", "b", "c"]
