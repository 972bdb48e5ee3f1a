"""Progress bars for hashing and transfers, on a terminal."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from cloud_executor.client.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

LEAST_BYTES = 4 * 1024 * 1024
"""Size of the smallest file that has a progress bar, in bytes."""


class ProgressBars:
    """Shows one bar for each large file that is being handled. It is thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bars: Bars | None = None
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def __call__(self, progress: Progress) -> None:
        if (progress.total or progress.done) < LEAST_BYTES:
            return
        with self._lock:
            key = (progress.activity, progress.name)
            if progress.total is not None and progress.done >= progress.total:
                self._end(key)
                return
            if self._bars is None:
                self._bars = _new_bars()
                self._bars.start()
            if key not in self._tasks:
                self._tasks[key] = self._bars.add_task(f"{progress.activity} {progress.name}", total=progress.total)
            self._bars.update(self._tasks[key], completed=progress.done, total=progress.total)

    def _end(self, key: tuple[str, str]) -> None:
        task = self._tasks.pop(key, None)
        if self._bars is None or task is None:
            return
        self._bars.remove_task(task)
        if not self._tasks:
            self._bars.stop()
            self._bars = None


def _new_bars() -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Bars(*columns, console=Console(stderr=True), transient=True, expand=True)
