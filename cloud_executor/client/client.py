"""The Python client: the five steps, and what goes with them, as methods."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import httpx

from cloud_executor.client import download
from cloud_executor.client.artifact import upload_artifact
from cloud_executor.client.errors import (
    InvalidSource,
    ServerFault,
    WaitedTooLong,
)
from cloud_executor.client.job_info import JobInfo, OutputSegment, WorkerInfo
from cloud_executor.client.local_file import write_whole
from cloud_executor.client.source_zip import write_zip
from cloud_executor.client.transport import Transport, json_of, segment
from cloud_executor.client.upload import upload
from cloud_executor.delays import delays
from cloud_executor.errors import Unavailable

DEFAULT_URL = "http://127.0.0.1:8888"

FIRST_POLL_SECONDS = 0.02
LONGEST_POLL_SECONDS = 1.0

PATIENCE_SECONDS = 60.0
"""how long `wait` bears with a server that cannot be reached: it may just be started again"""


class CloudExecutor:
    """A server of the blob and executor protocol. Safe for use by threads; close it, or use it in a `with`.

    Every method raises a CloudExecutorError with a sentence that says what to do: `ServerUnreachable`, `Forbidden`,
    `NotFound`, `Invalid`, `Unavailable` … Short failures of the network are tried again first.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        nonce: str | None = None,
        token: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`nonce`: the server's shared secret; `token`: the user's access token; `transport`: in place of the network.

        Nothing is sent yet. Raises InvalidAddress.
        """
        self._transport = Transport(url, nonce, token, transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    # Upload ---------------------------------------------------------------------------------------------------------

    def upload_file(self, source: Path | BinaryIO, name: str | None = None) -> str:
        """Store a file, or all that is left of a stream; the hash of the blob. It is streamed.

        `name` is the file's own if it is not given. A large file goes straight to the server's storage if it can, where
        a broken connection is resumed, and not at all if it is there. A stream that cannot be rewound is sent once and
        never again, or copied to a file first if it is large.
        """
        with ExitStack() as stack:
            if isinstance(source, Path):
                name = source.name if name is None else name
                source = stack.enter_context(source.open("rb"))
            if not name:
                raise InvalidSource("The upload needs a name.")
            return upload(self._transport, name, source)

    def upload_folder(self, folder: Path, name: str | None = None) -> str:
        """Store a folder as a zip named `<folder>.zip`; the hash of the blob.

        The same files give the same hash. Raises InvalidSource for files that cannot be packed.
        """
        with tempfile.TemporaryFile() as packed:
            write_zip(folder, packed)
            packed.seek(0)
            return self.upload_file(packed, name or f"{folder.resolve().name or 'job'}.zip")

    def upload_artifact(self, folder: Path, name: str | None = None) -> str:
        """Store the files below a folder as an artifact, of which each can be read by itself; the hash of the blob.

        Files that the server has are not sent. Modes are not kept, unlike by `upload_folder`. Raises InvalidSource.
        """
        return upload_artifact(self._transport, folder, name or folder.resolve().name or "artifact")

    # Jobs -----------------------------------------------------------------------------------------------------------

    def create_job(self, job_hash: str, labels: Iterable[str] = ()) -> JobInfo:
        """Create the job whose files are that blob. It has a `secret` if it was not there before.

        A job that is there comes back as it is, finished or not, unless it was canceled: that one is made anew.
        """
        response = self._transport.post_json(
            f"/rest/executor/create/{segment(job_hash)}", {"labels": list(labels)}, repeatable=False
        )
        return JobInfo.from_wire(json_of(response))

    def job(self, job_hash: str) -> JobInfo:
        """Raises NotFound."""
        return JobInfo.from_wire(json_of(self._transport.request("GET", f"/rest/executor/info/{segment(job_hash)}")))

    def wait(
        self,
        job_hash: str,
        timeout_seconds: float | None = None,
        on_status: Callable[[JobInfo], None] | None = None,
    ) -> JobInfo:
        """The job, once it has finished. `on_status` is called with every look at it.

        Raises NotFound, WaitedTooLong, and Unavailable if the server stays away.
        """
        started = last_seen = time.monotonic()
        pauses = delays(FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS, factor=1.5)
        while True:
            try:
                job = self.job(job_hash)
            except Unavailable:
                if time.monotonic() - last_seen > PATIENCE_SECONDS:
                    raise
            else:
                last_seen = time.monotonic()
                if on_status is not None:
                    on_status(job)
                if job.finished:
                    return job
            pause = next(pauses)
            if timeout_seconds is not None:
                left = started + timeout_seconds - time.monotonic()
                if left <= 0:
                    raise WaitedTooLong
                pause = min(pause, left)
            time.sleep(pause)

    def cancel(self, job_hash: str, secret: str) -> None:
        """Cancel with the secret from `create_job`; harmless if the job has finished. Raises NotFound, Forbidden."""
        self._transport.post_json(f"/rest/executor/cancel/{segment(job_hash)}", {"secret": secret})

    def output(self, job_hash: str, start: int | None = None, end: int | None = None) -> list[OutputSegment]:
        """Segments of the job's output with start <= number < end. Raises NotFound."""
        query = {name: str(bound) for name, bound in (("start", start), ("end", end)) if bound is not None}
        response = self._transport.request("GET", f"/rest/executor/output/{segment(job_hash)}", query=query)
        try:
            return [OutputSegment(found["outputNumber"], found["output"]) for found in json_of(response)]
        except (KeyError, TypeError) as error:
            raise ServerFault from error

    def workers(self) -> list[WorkerInfo]:
        document = json_of(self._transport.request("GET", "/rest/executor/worker"))
        if not isinstance(document, dict):
            raise ServerFault
        return list(map(WorkerInfo.from_wire, document.values()))

    # Download -------------------------------------------------------------------------------------------------------

    def download(self, metadata_hash: str, destination: Path) -> None:
        """Write a blob to a file; an artifact as a zip.

        The file is there when it is complete, and not before. Broken connections are resumed. Raises NotFound.
        """
        write_whole(destination, self.chunks(metadata_hash))

    def download_file(self, metadata_hash: str, path: str, destination: Path) -> None:
        """Write one file of an artifact to a file, as `download` does."""
        write_whole(destination, self.chunks(metadata_hash, path))

    def chunks(self, metadata_hash: str, path: str | None = None) -> Iterator[bytes]:
        """The bytes of a blob, or of one file of an artifact, as they come. Raises NotFound."""
        return download.chunks(self._transport, download.address_of(metadata_hash, path))

    def tail(self, metadata_hash: str, path: str, size: int) -> bytes:
        """At most the last `size` bytes of one file of an artifact. Raises NotFound."""
        return download.tail(self._transport, download.address_of(metadata_hash, path), size)
