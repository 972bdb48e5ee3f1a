"""A sweep: many jobs that differ in their variables, with a bounded number of them on the server."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice

from cloud_executor.client.errors import InvalidSource
from cloud_executor.client.job import Job
from cloud_executor.client.transport import OUTAGE_SECONDS
from cloud_executor.errors import Unavailable

DEFAULT_CONCURRENCY = 500
"""Number of jobs of a sweep that are on the server at the same time."""

REQUESTS_AT_ONCE = 8
"""Number of submissions and of polls at the same time."""

POLL_SECONDS = 1.0
"""Shortest interval between two polls of the same job, in seconds."""

POLLS_PER_SECOND = 50.0
"""Largest number of polls per second; with more jobs, each of them is polled less often."""

_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)

OnJob = Callable[[int, Job], None]
"""Called with the number of a row, from 0, when its job has been created, from any thread, and when it has finished."""


def run_sweep(
    submit: Callable[[Mapping[str, str]], Job],
    rows: Iterable[Mapping[str, object]],
    concurrency: int,
    *,
    progress: bool = False,
    on_job: OnJob | None = None,
) -> Iterator[Job]:
    """Submit a job for each row, and yield the finished jobs in the order of the rows. Raises InvalidSource."""
    if concurrency < 1:
        raise InvalidSource("concurrency must be at least 1.")
    variables = [_variables(number, row) for number, row in enumerate(rows, 1)]
    return _run(submit, variables, concurrency, progress, on_job)


def _run(
    submit: Callable[[Mapping[str, str]], Job],
    variables: list[dict[str, str]],
    concurrency: int,
    progress: bool,
    on_job: OnJob | None,
) -> Iterator[Job]:
    interval = max(POLL_SECONDS, min(concurrency, len(variables)) / POLLS_PER_SECOND)
    following = iter(enumerate(variables))
    created: dict[Future[Job], int] = {}
    """Submissions in flight, with the numbers of their rows."""
    running: dict[int, Job] = {}
    finished: dict[int, Job] = {}
    first = 0

    submissions = _Submissions()

    def create(number: int, row: Mapping[str, str]) -> Job:
        with submissions:
            job = submit(row)
            if on_job is not None:
                on_job(number, job)  # here, because the caller may be interrupted before it sees the result
            return job

    next_poll = last_seen = time.monotonic()
    with _progress_bar(len(variables), shown=progress) as advance, ThreadPoolExecutor(REQUESTS_AT_ONCE) as requests:
        try:
            while first < len(variables):
                for number, row in islice(following, concurrency - len(created) - len(running)):
                    created[requests.submit(create, number, row)] = number
                pause = max(0.0, next_poll - time.monotonic())
                if created:
                    for future in wait(created, pause, FIRST_COMPLETED).done:
                        number = created.pop(future)
                        running[number] = future.result()
                else:
                    time.sleep(pause)
                if time.monotonic() >= next_poll:
                    try:
                        list(requests.map(Job.refresh, [job for job in running.values() if not job.finished]))
                        last_seen = time.monotonic()
                    except Unavailable:
                        if time.monotonic() - last_seen > OUTAGE_SECONDS:
                            raise
                    next_poll = time.monotonic() + interval
                for number in [number for number, job in running.items() if job.finished]:
                    finished[number] = running.pop(number)
                    advance()
                    if on_job is not None:
                        on_job(number, finished[number])
                while first in finished:
                    yield finished.pop(first)
                    first += 1
        finally:
            requests.shutdown(wait=False, cancel_futures=True)
            submissions.end()


class _Submissions:
    """The submissions in flight, each of which enters the context.

    They are counted, because an interrupted ThreadPoolExecutor can forget a thread that it just started.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._in_flight = 0
        self._ended = False

    def __enter__(self) -> None:
        with self._changed:
            if self._ended:
                raise CancelledError
            self._in_flight += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._in_flight -= 1
            self._changed.notify_all()

    def end(self) -> None:
        """Allow no more submissions, and wait until those in flight have ended."""
        with self._changed:
            self._ended = True
            self._changed.wait_for(lambda: self._in_flight == 0)


def _variables(number: int, row: Mapping[str, object]) -> dict[str, str]:
    """The environment variables of a row. Raises InvalidSource."""
    for name in row:
        if not _VARIABLE.fullmatch(name):
            raise InvalidSource(
                f"{name!r} in row {number} is not the name of a variable: use letters, digits, and underscores."
            )
    return {name: str(value) for name, value in row.items()}


@contextmanager
def _progress_bar(total: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """A progress bar of rich, which draws on a terminal and in a notebook and nothing elsewhere."""
    if not shown:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not (console.is_terminal or console.is_jupyter)) as bar:
        task = bar.add_task("Jobs", total=total)
        yield lambda: bar.advance(task)
