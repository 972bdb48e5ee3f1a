"""The Python client: the API's steps as methods."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, BinaryIO, Literal, Self, Unpack

import httpx

from cloud_executor.client.account.profiles import choose_server
from cloud_executor.client.account.user_files import remember_secret
from cloud_executor.client.errors import InvalidSource, ServerError, ServerTimeout, TransferFailed
from cloud_executor.client.job import Job
from cloud_executor.client.job_info import JobInfo, OutputSegment, ServerInfo, WorkerInfo
from cloud_executor.client.job_list import JobFilter, list_jobs
from cloud_executor.client.progress import OnProgress
from cloud_executor.client.source.config import JobSettings
from cloud_executor.client.source.ignore import Ignored
from cloud_executor.client.source.job_files import JobFiles
from cloud_executor.client.source.job_source import JobSource, Source, source_of
from cloud_executor.client.source.packing import write_zip
from cloud_executor.client.sweep import DEFAULT_CONCURRENCY, OnJob, run_sweep
from cloud_executor.client.transfer.artifact import upload_files
from cloud_executor.client.transfer.download import blob_path, read_tail, stream_blob
from cloud_executor.client.transfer.local_file import write_whole
from cloud_executor.client.transfer.upload import upload_stream
from cloud_executor.client.transport import Transport, json_of, path_segment
from cloud_executor.client.waiting import LONG_POLL_SECONDS, follow, info_path, output_segments, watch
from cloud_executor.errors import Conflict, NotFound

NO_INPUTS: Mapping[str, str | Path] = MappingProxyType({})


class SubmitOptions(JobSettings, total=False):
    """The keyword arguments of `Client.submit`."""

    folder: Path | str | None
    labels: Iterable[str]
    name: str | None
    tags: Iterable[str]
    inputs: Mapping[str, str | Path]
    rerun: bool


class Client:
    """A client of one server. It is thread-safe. Close it after use, or use it in a `with` statement.

    Methods raise subclasses of CloudExecutorError whose messages say what to do: `ServerUnreachable`, `Forbidden`,
    `NotFound`, `Invalid`, `Unavailable`, and others. Requests are retried after brief network failures, and for up to a
    minute once the server has responded, because it may be restarting.
    """

    def __init__(
        self,
        url: str | None = None,
        nonce: str | None = None,
        token: str | None = None,
        *,
        google_identity: bool = False,
        profile: str | None = None,
        on_progress: OnProgress | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Nothing is sent yet. Raises InvalidAddress, InvalidProfile.

        Without `url`, the address and the credentials are those of the profile, of EXECUTOR_URL, EXECUTOR_NONCE, and
        EXECUTOR_TOKEN, or of the user's current profile, in this order. `nonce` is the server's shared secret, `token`
        the user's access token. With `google_identity`, requests also carry an identity token of google-auth's default
        credentials, or of gcloud's user. `on_progress` is told how far files have come. `transport` replaces the
        network.
        """
        server = choose_server(url, nonce, token, profile)
        self._transport = Transport(
            server.url,
            server.nonce,
            server.token,
            transport,
            on_progress,
            google_identity=google_identity or server.google_identity,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    @property
    def url(self) -> str:
        """The server's address."""
        return self._transport.url

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

        The same files always give the same hash. The folder's `.executorignore`, in the syntax of `.gitignore`, names
        files that are left out, as are `.git`, `.venv`, and caches. Raises InvalidSource.
        """
        with tempfile.TemporaryFile() as packed:
            write_zip(folder, packed, Ignored(folder))
            packed.seek(0)
            return self.upload_file(packed, name or f"{folder.resolve().name or 'job'}.zip")

    def upload_artifact(self, folder: Path, name: str | None = None) -> str:
        """Store the files below a folder as an artifact, and return the blob's hash.

        Each file of an artifact can be downloaded separately. Files that the server already has are not sent. File
        modes are not kept; `upload_folder` keeps them. Raises InvalidSource.
        """
        return upload_files(self._transport, folder, name or folder.resolve().name or "artifact")

    # Jobs -----------------------------------------------------------------------------------------------------------

    def submit(
        self,
        source: Path | str | Sequence[str],
        *,
        folder: Path | str | None = None,
        labels: Iterable[str] = (),
        name: str | None = None,
        tags: Iterable[str] = (),
        inputs: Mapping[str, str | Path] = NO_INPUTS,
        rerun: bool = False,
        **settings: Unpack[JobSettings],
    ) -> Job:
        """Send a job and return it without waiting for it.

        `source` is a folder with an executor_config.json, a zip of such a folder, or a command as a list of the program
        and its arguments. A command runs in a copy of `folder`, or without files. `settings`, such as `image`, `env`,
        `timeout_seconds`, `cpus`, `memory_mib`, and `artifacts`, add to the folder's executor_config.json or replace
        its values. `inputs` are files or folders that many jobs share, by their paths in the job's folder: blob hashes,
        or paths on this machine, which are sent once.

        The same files with the same settings are the same job, which does not run again without `rerun`. Raises
        InvalidSource before anything is sent, and Conflict for a job that exists with other labels.
        """
        job_hash = self.upload_job(source_of(source, folder, inputs, settings))
        return self.create(job_hash, labels, name=name, tags=tags, rerun=rerun)

    def upload_job(self, source: Source, on_packed: Callable[[JobSource], None] | None = None) -> str:
        """Send the files of a job, and return the blob's hash. `on_packed` is called before a zip is sent."""
        return JobFiles(self._transport, source, on_packed=on_packed).upload()

    def run(self, source: Path | str | Sequence[str], **options: Unpack[SubmitOptions]) -> Job:
        """Send a job, as `submit` does, wait until it has finished, and return it."""
        return self.submit(source, **options).wait()

    def map(
        self,
        source: Path | str | Sequence[str],
        rows: Iterable[Mapping[str, object]],
        *,
        folder: Path | str | None = None,
        labels: Iterable[str] = (),
        tags: Iterable[str] = (),
        inputs: Mapping[str, str | Path] = NO_INPUTS,
        rerun: bool = False,
        concurrency: int = DEFAULT_CONCURRENCY,
        progress: bool = True,
        **settings: Unpack[JobSettings],
    ) -> Iterator[Job]:
        """Run one job for each row, and yield the finished jobs in the order of the rows.

        The values of a row are environment variables of its job, and replace `{NAME}` in the command and its arguments.
        Files that all jobs share are sent once. Up to `concurrency` jobs are on the server at the same time. `progress`
        shows a progress bar on a terminal or in a notebook. Raises the errors of `submit` and `wait`.
        """
        found = source_of(source, folder, inputs, settings)
        return self.sweep(
            found, rows, labels=labels, tags=tags, rerun=rerun, concurrency=concurrency, progress=progress
        )

    def sweep(
        self,
        source: Source,
        rows: Iterable[Mapping[str, object]],
        *,
        labels: Iterable[str] = (),
        name: str | None = None,
        tags: Iterable[str] = (),
        rerun: bool = False,
        concurrency: int = DEFAULT_CONCURRENCY,
        progress: bool = False,
        on_job: OnJob | None = None,
    ) -> Iterator[Job]:
        """Like `map`, for a source that is already read. `on_job` is told of each job's creation and of its end."""
        files = JobFiles(self._transport, source, many=True)
        wanted, tagged = list(labels), list(tags)

        def submit(variables: Mapping[str, str]) -> Job:
            return self.create(files.upload(variables), wanted, name=name, tags=tagged, rerun=rerun)

        return run_sweep(submit, rows, concurrency, progress=progress, on_job=on_job)

    def create(
        self,
        job_hash: str,
        labels: Iterable[str] = (),
        *,
        name: str | None = None,
        tags: Iterable[str] = (),
        rerun: bool = False,
    ) -> Job:
        """Create the job whose files are stored under this hash, and return it, also if the response got lost.

        The secret that cancels a new job is kept in the user's state folder. Raises Conflict if the job exists with
        other labels.
        """
        wanted, tagged = list(labels), list(tags)
        try:
            info = self.create_job(job_hash, wanted, rerun=rerun, name=name, tags=tagged)
        except (TransferFailed, ServerTimeout):
            # The server may have created the job. The same request then returns it, but without its secret.
            try:
                info = self.create_job(job_hash, wanted, rerun=rerun, name=name, tags=tagged)
            except Conflict:
                info = self.create_job(job_hash, wanted)
        if info.secret is not None:
            remember_secret(self.url, info.hash, info.secret)
        if not set(wanted) <= set(info.labels):
            given = f"the labels {', '.join(info.labels)}" if info.labels else "no labels"
            raise Conflict(
                f"Job {info.hash} already exists with the same content and {given}. "
                "Add --rerun to run it again with these labels, once it has finished."
            )
        return Job(self, info)

    def create_job(
        self,
        job_hash: str,
        labels: Iterable[str] = (),
        *,
        rerun: bool = False,
        name: str | None = None,
        tags: Iterable[str] = (),
    ) -> JobInfo:
        """Create the job whose files are stored under this hash. Only a new job has a `secret`.

        If the job exists, it is returned unchanged, whether finished or not. A canceled job is created again, and with
        `rerun` any finished one. Raises Conflict for the `rerun` of a running job.
        """
        path = f"/rest/executor/create/{path_segment(job_hash)}{'?rerun=true' if rerun else ''}"
        document = {"labels": list(labels), "name": name, "tags": list(tags)}
        body = {field: value for field, value in document.items() if value or field == "labels"}
        return JobInfo.from_wire(json_of(self._transport.post_json(path, body, repeatable=False)))

    def job(self, job_hash: str) -> Job:
        """Return the job. Raises NotFound."""
        return Job(self, JobInfo.from_wire(json_of(self._transport.request("GET", info_path(job_hash)))))

    def jobs(
        self,
        status: str | Collection[str] | None = None,
        *,
        label: str | None = None,
        tag: str | None = None,
        name: str | None = None,
        worker: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        order: Literal["newest", "oldest"] = "newest",
        limit: int | None = None,
    ) -> Iterator[Job]:
        """Yield up to `limit` jobs that satisfy all conditions. `name` is the beginning of the job's name."""

        statuses = (status,) if isinstance(status, str) else tuple(status or ())
        wanted = JobFilter(statuses, label, tag, name, worker, created_after, created_before, order)
        return (Job(self, info) for info in list_jobs(self._transport, wanted, limit))

    def wait(
        self,
        job_hash: str,
        timeout_seconds: float | None = None,
        on_status: Callable[[JobInfo], None] | None = None,
    ) -> JobInfo:
        """Wait until the job has finished, and return it. `on_status` is called after every poll.

        Raises NotFound, WaitTimeout, and Unavailable if the server cannot be reached for a minute.
        """
        for job in self.watch(job_hash, timeout_seconds):
            if on_status is not None:
                on_status(job)
        return job

    def watch(
        self, job_hash: str, timeout_seconds: float | None = None, *, known: JobInfo | None = None
    ) -> Iterator[JobInfo]:
        """Yield the job after every poll until it has finished. Raises the errors of `wait`.

        The server holds back its response until something changes, if it can. The first response comes at once, or,
        with the job as it is `known`, after the next change.
        """
        return watch(self._transport, job_hash, timeout_seconds, known=known)

    def follow(
        self, job_hash: str, *, longest_poll_seconds: int = LONG_POLL_SECONDS, known: JobInfo | None = None
    ) -> Iterator[tuple[JobInfo, list[OutputSegment]]]:
        """Like `watch`, with the output segments that are new since the last poll."""
        return follow(self._transport, job_hash, longest_poll_seconds, known)

    def cancel(self, job_hash: str, secret: str) -> None:
        """Cancel a job with the secret from `create_job`. A finished job is unchanged. Raises NotFound, Forbidden."""
        self._transport.post_json(f"/rest/executor/cancel/{path_segment(job_hash)}", {"secret": secret})

    def delete_job(self, job_hash: str) -> None:
        """Delete a finished job and its output. Raises NotFound, Conflict for a job that runs, and Forbidden."""
        self._transport.request("DELETE", f"/rest/executor/{path_segment(job_hash)}", repeatable=False)

    def delete_blob(self, metadata_hash: str) -> None:
        """Delete a blob, as an administrator. Raises NotFound, Forbidden.

        The bytes stay on the server until no blob needs them.
        """
        self._transport.request("DELETE", f"/rest/blob/{path_segment(metadata_hash)}", repeatable=False)

    def output(self, job_hash: str, start: int | None = None, end: int | None = None) -> list[OutputSegment]:
        """Return the segments of the job's output with start <= number < end. Raises NotFound."""
        return output_segments(self._transport, job_hash, start, end)

    def workers(self) -> list[WorkerInfo]:
        document = json_of(self._transport.request("GET", "/rest/executor/worker"))
        if not isinstance(document, dict):
            raise ServerError
        return list(map(WorkerInfo.from_wire, document.values()))

    def stats(self) -> dict[str, Any]:
        """Return the numbers of jobs by status, the state of each pool, and the bytes stored. Raises NotFound."""
        document = json_of(self._transport.request("GET", "/rest/executor/stats"))
        if not isinstance(document, dict):
            raise ServerError
        return document

    def server_info(self) -> ServerInfo:
        """Return what the server says about itself; a server such as WebGME's says nothing about its version."""
        try:
            response = self._transport.request("GET", "/rest/routes")
        except (NotFound, ServerError):
            return ServerInfo(None, None)
        first = response.text.partition("\n")[0]
        version = first.removeprefix("Cloud Executor ") if first.startswith("Cloud Executor ") else None
        return ServerInfo(version, response.headers.get("date"))

    # Download -------------------------------------------------------------------------------------------------------

    def download(self, metadata_hash: str, destination: Path) -> None:
        """Write a blob to a file. An artifact is written as a zip.

        The file appears only once it is complete. Broken connections are resumed. Raises NotFound.
        """
        write_whole(destination, self.chunks(metadata_hash))

    def download_file(self, metadata_hash: str, path: str, destination: Path) -> None:
        """Write one file of an artifact to a file, in the same way as `download`."""
        write_whole(destination, self.chunks(metadata_hash, path))

    def metadata(self, metadata_hash: str) -> dict[str, Any]:
        """Return the metadata document of a blob. Raises NotFound."""
        document = json_of(self._transport.request("GET", f"/rest/blob/metadata/{path_segment(metadata_hash)}"))
        if not isinstance(document, dict):
            raise ServerError
        return document

    def files(self, metadata_hash: str) -> list[str] | None:
        """Return the paths of the files in an artifact, or None if the blob is not an artifact. Raises NotFound."""
        content = self.metadata(metadata_hash).get("content")
        return list(content) if isinstance(content, dict) else None

    def chunks(self, metadata_hash: str, path: str | None = None, start: int = 0) -> Iterator[bytes]:
        """Stream the bytes of a blob, or of one file of an artifact, from byte `start`. Raises NotFound."""
        name = metadata_hash[:8] if path is None else path
        return stream_blob(self._transport, blob_path(metadata_hash, path), start, name)

    def tail(self, metadata_hash: str, path: str | None, size: int) -> bytes:
        """Return up to `size` bytes from the end of a file, or of one file of an artifact. Raises NotFound."""
        return read_tail(self._transport, blob_path(metadata_hash, path), size)
