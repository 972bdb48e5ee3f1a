"""The exception for a job that fails for a reason that its owner should know."""

from __future__ import annotations

from cloud_executor.model.jobs.job import Status


class JobFailed(Exception):
    """The job ends with this status. The message is a sentence for its owner."""

    def __init__(self, status: Status, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
