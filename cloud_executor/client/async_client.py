"""The client for asyncio: the methods of `Client` and `Job`, each run in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial, wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from cloud_executor.client.client import Client
from cloud_executor.client.job import Job

Parameters = ParamSpec("Parameters")
Value = TypeVar("Value")

THREADS = 64
"""Number of calls that run at the same time. A call that waits for a job occupies one of them."""


def _awaited(
    method: Callable[Concatenate[Client, Parameters], Value],
) -> Callable[Concatenate[AsyncClient, Parameters], Coroutine[Any, Any, Value]]:
    """The client's method, run in a thread."""

    @wraps(method)
    async def call(self: AsyncClient, /, *arguments: Parameters.args, **options: Parameters.kwargs) -> Value:
        return await self.call(partial(method, self.client, *arguments, **options))

    return call


def _job_of(
    method: Callable[Concatenate[Client, Parameters], Job],
) -> Callable[Concatenate[AsyncClient, Parameters], Coroutine[Any, Any, AsyncJob]]:
    """The client's method that returns a job, run in a thread."""

    @wraps(method)
    async def call(self: AsyncClient, /, *arguments: Parameters.args, **options: Parameters.kwargs) -> AsyncJob:
        return AsyncJob(self, await self.call(partial(method, self.client, *arguments, **options)))

    return call


def _jobs_of(
    method: Callable[Concatenate[Client, Parameters], Iterator[Job]],
) -> Callable[Concatenate[AsyncClient, Parameters], AsyncIterator[AsyncJob]]:
    """The client's method that yields jobs, with each step in a thread."""

    @wraps(method)
    async def iterate(
        self: AsyncClient, /, *arguments: Parameters.args, **options: Parameters.kwargs
    ) -> AsyncIterator[AsyncJob]:
        async for job in self.iterate(method(self.client, *arguments, **options)):
            yield AsyncJob(self, job)

    return iterate


class AsyncClient:
    """A client of one server for asyncio. Its arguments and methods are those of `Client`.

    Close it after use, or use it in an `async with` statement. A task that is canceled while it waits leaves its job
    running.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - those of Client
        """Raises InvalidAddress, InvalidProfile."""
        self.client = Client(*arguments, **options)
        """The client that sends the requests."""
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="executor")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.client.close()

    async def call(self, function: Callable[[], Value]) -> Value:
        """Run a function that waits for the server in one of the client's threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    async def iterate(self, values: Iterator[Value]) -> AsyncIterator[Value]:
        """Yield the values of an iterator that waits for the server."""
        try:
            while found := await self.call(lambda: [*_next(values)]):
                yield found[0]
        finally:
            close = getattr(values, "close", None)
            with suppress(ValueError):  # its last step, whose task was canceled, still runs
                if close is not None:
                    close()

    upload_file = _awaited(Client.upload_file)
    upload_folder = _awaited(Client.upload_folder)
    upload_artifact = _awaited(Client.upload_artifact)
    submit = _job_of(Client.submit)
    create = _job_of(Client.create)
    job = _job_of(Client.job)
    jobs = _jobs_of(Client.jobs)
    map = _jobs_of(Client.map)
    delete_job = _awaited(Client.delete_job)
    delete_blob = _awaited(Client.delete_blob)
    workers = _awaited(Client.workers)
    stats = _awaited(Client.stats)
    metadata = _awaited(Client.metadata)
    files = _awaited(Client.files)
    download = _awaited(Client.download)
    download_file = _awaited(Client.download_file)

    @wraps(Client.run)
    async def run(self, *arguments: Any, **options: Any) -> AsyncJob:  # noqa: ANN401 - those of Client.run
        return await (await self.submit(*arguments, **options)).wait()


class AsyncJob:
    """A job on a server, for asyncio. Its fields and results are those of `job`."""

    def __init__(self, client: AsyncClient, job: Job) -> None:
        self._client = client
        self.job = job
        """The job, with its fields."""

    def __repr__(self) -> str:
        return f"Async{self.job!r}"

    @property
    def hash(self) -> str:
        return self.job.hash

    @property
    def status(self) -> str:
        return self.job.status

    @property
    def succeeded(self) -> bool:
        return self.job.succeeded

    async def wait(self, timeout_seconds: float | None = None) -> Self:
        """See `Job.wait`."""
        async for info in self._client.iterate(
            self._client.client.watch(self.hash, timeout_seconds, known=self.job.info)
        ):
            self.job.info = info
        return self

    def output(self) -> AsyncIterator[str]:
        """See `Job.output`."""
        return self._client.iterate(self.job.output())

    async def refresh(self) -> Self:
        """See `Job.refresh`."""
        await self._client.call(self.job.refresh)
        return self

    async def rerun(self) -> Self:
        """See `Job.rerun`."""
        await self._client.call(self.job.rerun)
        return self

    async def cancel(self) -> None:
        """See `Job.cancel`."""
        await self._client.call(self.job.cancel)

    async def delete(self) -> None:
        """See `Job.delete`."""
        await self._client.call(self.job.delete)

    async def download(self, folder: Path | str) -> int:
        """See `Job.download`."""
        return await self._client.call(partial(self.job.download, folder))


def _next(values: Iterator[Value]) -> Iterator[Value]:
    """The next value, if there is one. StopIteration cannot leave a thread of asyncio."""
    for value in values:
        yield value
        return
