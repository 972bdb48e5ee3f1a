"""The job that an argument names: by its hash, or by the beginning of it."""

from __future__ import annotations

from cloud_executor.client.client import Client
from cloud_executor.client.job import Job
from cloud_executor.errors import Invalid, NotFound

SHORTEST = 4
"""Length of the shortest beginning of a hash, in characters."""

SEARCHED_JOBS = 1000
"""Number of the newest jobs among which a beginning is looked up."""


def find_job(client: Client, text: str) -> Job:
    """Return the job. Raises NotFound, and Invalid if several jobs begin in this way."""
    try:
        return client.job(text)
    except NotFound:
        found = {}
        if len(text) >= SHORTEST and len(text) < 40:
            found = {job.hash: job for job in client.jobs(limit=SEARCHED_JOBS) if job.hash.startswith(text)}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise Invalid(f"The hashes of {len(found)} jobs begin with {text}: give more of the hash.")
    raise NotFound(f"Job {text} does not exist: `executor list` shows the newest jobs.")
