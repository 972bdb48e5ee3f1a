"""Store what a command left: its output, apart from the results, and the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cloud_executor.blobs.delayed import DelayedBlobStore, NotStored
from cloud_executor.blobs.store import BlobStore
from cloud_executor.errors import Unavailable
from cloud_executor.model.blobs.metadata import ArtifactFile
from cloud_executor.model.documents.executor_config import ResultArtifact
from worker_vm.worker.attempt import Attempt, Interrupted
from worker_vm.worker.command.output_files import OutputFiles
from worker_vm.worker.results.archive import Results, archive
from worker_vm.worker.results.logs import store_logs
from worker_vm.worker.retry import retry_while_unavailable

OnLogs = Callable[[Mapping[str, ArtifactFile]], None]
"""Called with the entries of the output files, by name, once they are stored."""


def store_results(
    blobs: BlobStore, artifacts: tuple[ResultArtifact, ...], files: OutputFiles, attempt: Attempt, on_logs: OnLogs
) -> Results:
    """Store the output and the results. Raises Interrupted, and Unavailable.

    Small files are stored together, which takes much less time than one by one.
    """
    moved, warnings = files.move_to_job()

    def store(target: BlobStore, on_logs: OnLogs) -> Results:
        stored, unstored = store_logs(target, files, attempt)
        on_logs(stored)
        known = {name: file for name, file in stored.items() if name in moved}
        results = archive(target, artifacts, files.folder.job, attempt, known)
        results.warnings = (*unstored, *warnings, *results.warnings)
        return results

    delayed = DelayedBlobStore(blobs.objects, blobs.clock, on_stored=blobs.on_stored)
    logs: dict[str, ArtifactFile] = {}
    try:
        results = store(delayed, logs.update)
        retry_while_unavailable(delayed.flush, attempt)
    except (Interrupted, Unavailable):
        raise
    except NotStored:
        return store(blobs, on_logs)  # one by one, so that the error names the file
    except Exception:
        # An internal error does not lose the output.
        retry_while_unavailable(delayed.flush, attempt)
        on_logs(logs)
        raise
    on_logs(logs)
    return results
