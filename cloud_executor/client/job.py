"""A job that the caller can wait for, follow, cancel, and run again."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_executor.client.account.user_files import known_secret
from cloud_executor.client.job_info import JobInfo, OutputSegment
from cloud_executor.client.results.logs import Log, log_places
from cloud_executor.client.results.result import Result, store_results
from cloud_executor.errors import Forbidden, NotFound

if TYPE_CHECKING:
    from cloud_executor.client.client import Client

    _Fields = JobInfo
else:
    _Fields = object


class Job(_Fields):
    """A job on a server. It has the fields of `JobInfo`, as of the last response of the server.

    `wait`, `output`, `refresh`, and `rerun` update the fields.
    """

    def __init__(self, client: Client, info: JobInfo) -> None:
        self._client = client
        self.info = info
        """The job as of the last response."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            if name.startswith("_") or name == "info":  # while the object is being copied or unpickled
                raise AttributeError(name)
            return getattr(self.info, name)

    def __repr__(self) -> str:
        return f"Job({self.hash!r}, {self.status})"

    def refresh(self) -> Job:
        """Ask the server for the job's fields, and return the job. Raises NotFound."""
        return self._seen(self._client.job(self.hash).info)

    def wait(self, timeout_seconds: float | None = None) -> Job:
        """Wait until the job has finished, and return it. A failed job raises no error: look at `succeeded`.

        Raises NotFound, WaitTimeout, and Unavailable if the server cannot be reached for a minute.
        """
        for info in self._client.watch(self.hash, timeout_seconds, known=self.info):
            self._seen(info)
        return self

    def output(self) -> Iterator[str]:
        """Yield the standard output until the job has finished.

        It arrives while the job runs if its executor_config.json has `outputInterval` or `outputSegmentSize`, as the
        jobs of a command do, and otherwise at the end. Raises the errors of `wait`.
        """
        streamed = False
        for info, segments in self._client.follow(self.hash, known=self.info):
            self._seen(info)
            for segment in segments:
                streamed = True
                yield segment.output
        if not streamed:
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            for chunk in self.log("stdout"):
                yield decoder.decode(chunk)
            yield decoder.decode(b"", final=True)

    def segments(self) -> list[OutputSegment]:
        """Return the output segments that are stored now."""
        return self._client.output(self.hash)

    def log(self, log: Log) -> Iterator[bytes]:
        """Yield the whole standard output or error of a finished job; nothing if it was not kept."""
        for blob_hash, path in log_places(self.info, log):
            try:
                yield from self._client.chunks(blob_hash, path)
                return
            except NotFound:
                continue

    def cancel(self) -> None:
        """Cancel the job. A finished job is unchanged.

        Raises Forbidden unless this user created the job on this machine.
        """
        secret = self.secret or known_secret(self._client.url, self.hash)
        if secret is None:
            raise Forbidden(
                f"The secret of job {self.hash} is not known here: cancel it where it was created, "
                "or ask the operator for `executor force-cancel`."
            )
        self._client.cancel(self.hash, secret)

    def delete(self) -> None:
        """Delete the finished job and its output. Raises NotFound, Conflict, Forbidden."""
        self._client.delete_job(self.hash)

    def rerun(self) -> Job:
        """Run the finished job again, and return it. Raises Conflict for a job that waits or runs."""
        return self._seen(self._client.create(self.hash, rerun=True).info)

    @property
    def results(self) -> Mapping[str, Result]:
        """The artifacts by name; empty until the job has results."""
        return {name: Result(self._client, blob_hash) for name, blob_hash in self.result_hashes.items()}

    def download(self, folder: Path | str) -> int:
        """Store the files of all artifacts below a folder, and return their number."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        return store_results(self._client, self.result_hashes.values(), Path(folder))

    def _seen(self, info: JobInfo) -> Job:
        self.info = info
        return self
