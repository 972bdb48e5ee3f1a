"""Read the job's `executor_config.json`."""

from __future__ import annotations

from cloud_executor.errors import Invalid
from cloud_executor.model.documents.config_document import CONFIG_FILE, MAX_BYTES, similar_file
from cloud_executor.model.documents.executor_config import ExecutorConfig
from cloud_executor.model.jobs.job import Status
from worker_vm.worker.file_names import quoted_name
from worker_vm.worker.job_failed import JobFailed
from worker_vm.worker.work_folder import AttemptFolder


def read_config(folder: AttemptFolder) -> ExecutorConfig:
    """Raises JobFailed."""
    try:
        with (folder.job / CONFIG_FILE).open("rb") as file:
            return ExecutorConfig.parse(file.read(MAX_BYTES + 1))
    except FileNotFoundError as error:
        raise _failed(_missing(folder)) from error
    except OSError as error:
        raise _failed(f"{CONFIG_FILE} in the source cannot be read; it must be a regular file.") from error
    except Invalid as error:
        raise _failed(str(error)) from error


def _missing(folder: AttemptFolder) -> str:
    """The error for a source without the file, which often has another spelling or is one folder down."""
    near = similar_file(path.name for path in folder.job.iterdir())
    if near is not None:
        return f"The source has no {CONFIG_FILE} at its top level; rename {quoted_name(near)} to {CONFIG_FILE}."
    found = min((path.parent.name for path in folder.job.glob(f"*/{CONFIG_FILE}")), default=None)
    if found is None:
        return f"The source has no {CONFIG_FILE} at its top level."
    return (
        f"The source has no {CONFIG_FILE} at its top level, but one in the folder {quoted_name(found)}: "
        "use the contents of that folder, not the folder itself."
    )


def _failed(sentence: str) -> JobFailed:
    return JobFailed(Status.FAILED_EXECUTOR_CONFIG, sentence)
