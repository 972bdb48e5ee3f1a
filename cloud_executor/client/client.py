"""The Python client: the API's steps as methods."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import httpx

from cloud_executor.client.artifact import upload_files
from cloud_executor.client.download import blob_path, read_tail, stream_blob
from cloud_executor.client.errors import InvalidSource, ServerError, WaitTimeout
from cloud_executor.client.job_info import JobInfo, OutputSegment, WorkerInfo
from cloud_executor.client.local_file import write_whole
from cloud_executor.client.source_zip import write_zip
from cloud_executor.client.transport import OUTAGE_SECONDS, Transport, json_of, path_segment
from cloud_executor.client.upload import upload_stream
from cloud_executor.delays import delays
from cloud_executor.errors import Unavailable

DEFAULT_URL = "http://127.0.0.1:8888"

FIRST_POLL_SECONDS = 0.02
LONGEST_POLL_SECONDS = 1.0

POLL_READ_SECONDS = 15.0
"""Read timeout of a poll, in seconds: far below the longest outage, so that a lost response does not end the wait."""


class Client:
    """A client of one server. It is thread-safe. Close it after use, or use it in a `with` statement.

    Methods raise subclasses of CloudExecutorError whose messages say what to do: `ServerUnreachable`, `Forbidden`,
    `NotFound`, `Invalid`, `Unavailable`, and others. Requests are retried after brief network failures, and for up to a
    minute once the server has responded, because it may be restarting.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        nonce: str | None = None,
        token: str | None = None,
        *,
        google_identity: bool = False,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Nothing is sent yet. Raises InvalidAddress.

        `nonce` is the server's shared secret, `token` the user's access token. With `google_identity`, requests also
        carry an identity token of google-auth's default credentials, or of gcloud's user. `transport` replaces the
        network.
        """
        self._transport = Transport(url, nonce, token, transport, google_identity=google_identity)

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
        """Store a file, or the rest of a stream, and return the blob's hash.

        The content is streamed. `name` defaults to the file's name. If the server supports it, a large file goes
        directly to the server's storage: broken connections are resumed, and content that is already stored is not
        sent. A stream that is not seekable is sent once, without a retry, or copied to a temporary file first if it is
        large.
        """
        with ExitStack() as stack:
            if isinstance(source, Path):
                name = source.name if name is None else name
                source = stack.enter_context(source.open("rb"))
            if not name:
                raise InvalidSource("The upload needs a name.")
            return upload_stream(self._transport, name, source)

    def upload_folder(self, folder: Path, name: str | None = None) -> str:
        """Store a folder as a zip named `<folder>.zip`, and return the blob's hash.

        The same files always give the same hash. Raises InvalidSource for files that cannot be packed.
        """
        with tempfile.TemporaryFile() as packed:
            write_zip(folder, packed)
            packed.seek(0)
            return self.upload_file(packed, name or f"{folder.resolve().name or 'job'}.zip")

    def upload_artifact(self, folder: Path, name: str | None = None) -> str:
        """Store the files below a folder as an artifact, and return the blob's hash.

        Each file of an artifact can be downloaded separately. Files that the server already has are not sent. File
        modes are not kept; `upload_folder` keeps them. Raises InvalidSource.
        """
        return upload_files(self._transport, folder, name or folder.resolve().name or "artifact")

    # Jobs -----------------------------------------------------------------------------------------------------------

    def create_job(self, job_hash: str, labels: Iterable[str] = (), *, rerun: bool = False) -> JobInfo:
        """Create the job whose files are stored under this hash. Only a new job has a `secret`.

        If the job exists, it is returned unchanged, whether finished or not. A canceled job is created again, and with
        `rerun` any finished one. Raises Conflict for the `rerun` of a running job.
        """
        path = f"/rest/executor/create/{path_segment(job_hash)}{'?rerun=true' if rerun else ''}"
        response = self._transport.post_json(path, {"labels": list(labels)}, repeatable=False)
        return JobInfo.from_wire(json_of(response))

    def job(self, job_hash: str) -> JobInfo:
        """Return the job. Raises NotFound."""
        return JobInfo.from_wire(json_of(self._transport.request("GET", _info_path(job_hash))))

    def wait(
        self,
        job_hash: str,
        timeout_seconds: float | None = None,
        on_status: Callable[[JobInfo], None] | None = None,
    ) -> JobInfo:
        """Poll until the job has finished, and return it. `on_status` is called after every poll.

        Raises NotFound, WaitTimeout, and Unavailable if the server cannot be reached for a minute.
        """
        started = last_seen = time.monotonic()
        pauses = delays(FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS, factor=1.5)
        while True:
            try:
                job = self._poll(job_hash)
            except Unavailable:
                if time.monotonic() - last_seen > OUTAGE_SECONDS:
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
                    raise WaitTimeout
                pause = min(pause, left)
            time.sleep(pause)

    def _poll(self, job_hash: str) -> JobInfo:
        response = self._transport.request("GET", _info_path(job_hash), read_seconds=POLL_READ_SECONDS, patient=False)
        return JobInfo.from_wire(json_of(response))

    def cancel(self, job_hash: str, secret: str) -> None:
        """Cancel a job with the secret from `create_job`. A finished job is unchanged. Raises NotFound, Forbidden."""
        self._transport.post_json(f"/rest/executor/cancel/{path_segment(job_hash)}", {"secret": secret})

    def output(self, job_hash: str, start: int | None = None, end: int | None = None) -> list[OutputSegment]:
        """Return the segments of the job's output with start <= number < end. Raises NotFound."""
        query = {name: str(bound) for name, bound in (("start", start), ("end", end)) if bound is not None}
        response = self._transport.request("GET", f"/rest/executor/output/{path_segment(job_hash)}", query=query)
        try:
            return [OutputSegment(found["outputNumber"], found["output"]) for found in json_of(response)]
        except (KeyError, TypeError) as error:
            raise ServerError from error

    def workers(self) -> list[WorkerInfo]:
        document = json_of(self._transport.request("GET", "/rest/executor/worker"))
        if not isinstance(document, dict):
            raise ServerError
        return list(map(WorkerInfo.from_wire, document.values()))

    # Download -------------------------------------------------------------------------------------------------------

    def download(self, metadata_hash: str, destination: Path) -> None:
        """Write a blob to a file. An artifact is written as a zip.

        The file appears only once it is complete. Broken connections are resumed. Raises NotFound.
        """
        write_whole(destination, self.chunks(metadata_hash))

    def download_file(self, metadata_hash: str, path: str, destination: Path) -> None:
        """Write one file of an artifact to a file, in the same way as `download`."""
        write_whole(destination, self.chunks(metadata_hash, path))

    def files(self, metadata_hash: str) -> list[str] | None:
        """Return the paths of the files in an artifact, or None if the blob is not an artifact. Raises NotFound."""
        document = json_of(self._transport.request("GET", f"/rest/blob/metadata/{path_segment(metadata_hash)}"))
        content = document.get("content") if isinstance(document, dict) else None
        return list(content) if isinstance(content, dict) else None

    def chunks(self, metadata_hash: str, path: str | None = None) -> Iterator[bytes]:
        """Stream the bytes of a blob, or of one file of an artifact. Raises NotFound."""
        return stream_blob(self._transport, blob_path(metadata_hash, path))

    def tail(self, metadata_hash: str, path: str | None, size: int) -> bytes:
        """Return up to `size` bytes from the end of a file, or of one file of an artifact. Raises NotFound."""
        return read_tail(self._transport, blob_path(metadata_hash, path), size)


def _info_path(job_hash: str) -> str:
    return f"/rest/executor/info/{path_segment(job_hash)}"
