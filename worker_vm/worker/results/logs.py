"""Store a command's output apart from the results, which may lack it (docs/api.md: Jobs)."""

from __future__ import annotations

import io
import logging
from functools import partial

from cloud_executor.blobs.store import BlobStore
from cloud_executor.errors import CloudExecutorError, Unavailable, os_reason
from cloud_executor.model.blobs.metadata import ArtifactFile
from worker_vm.worker.attempt import Attempt
from worker_vm.worker.command.output_files import OutputFiles
from worker_vm.worker.results.archive import store_file
from worker_vm.worker.retry import retry_while_unavailable

logger = logging.getLogger(__name__)


def store_logs(
    blobs: BlobStore, files: OutputFiles, attempt: Attempt
) -> tuple[dict[str, ArtifactFile], tuple[str, ...]]:
    """Store the output files, like results. Returns their entries by name, and a warning for each that is not stored.

    Raises Interrupted, and Unavailable.
    """
    stored: dict[str, ArtifactFile] = {}
    warnings: list[str] = []
    for name, descriptor in files.by_name.items():
        # By descriptor, because the command may have deleted the file.
        opened = partial(io.FileIO, f"/dev/fd/{descriptor}")
        try:
            stored[name] = retry_while_unavailable(partial(store_file, blobs, name, opened, attempt), attempt)
        except Unavailable:
            raise
        except (CloudExecutorError, OSError) as error:
            logger.warning("cannot store a log", extra=attempt.fields("archive") | {"file": name}, exc_info=True)
            reason = os_reason(error) if isinstance(error, OSError) else str(error)
            warnings.append(f"The log {name} was not stored: {reason.removesuffix('.')}.")
    return stored, tuple(warnings)
