"""Terms: strings by which the stores index jobs, so that a list reads only jobs that meet one of its conditions.

A list with several such conditions is read by the term of the first one. The jobs that do not meet the others are
skipped (`page_from` in `job_records`). The token of the next page can name a job that was skipped, so the list of one
user never reads a job of another: names, tags, and labels are terms of their user.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloud_executor.model.access.owner import GUEST, id_in
from cloud_executor.model.jobs.job import Job
from cloud_executor.model.jobs.job_filter import JobFilter

PREFIX_LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32)
"""Lengths of the prefixes of a name that are terms, in characters. A list by a prefix of another length uses the next
shorter one."""


def terms_of(job: Job) -> frozenset[tuple[str, str]]:
    """The kind and the value of each term of a job."""
    terms = {_of_user(job.user_id, "label", label) for label in job.labels}
    terms |= {_of_user(job.user_id, "tag", tag) for tag in job.tags}
    if job.worker is not None:
        terms.add(("worker", id_in(job.worker)))
    if job.pool is not None and not job.finished:
        terms.add(("pool", job.pool))
    if job.name is not None:
        lengths = (length for length in PREFIX_LENGTHS if length <= len(job.name))
        terms.update(_of_user(job.user_id, "name", job.name[:length]) for length in lengths)
    return frozenset(terms)


def leading_term(wanted: JobFilter) -> tuple[str, str] | None:
    """The term by which the list is read, which is the one that the fewest jobs are likely to have."""
    return next(_terms(wanted), None)


def is_served_by_index(wanted: JobFilter) -> bool:
    """Whether all jobs with the leading term, or user, and the right status and time meet all conditions."""
    conditions = (wanted.name_prefix, wanted.tag, wanted.worker, wanted.label, wanted.pool)
    count = sum(condition is not None for condition in conditions)
    return count <= (leading_term(wanted) is not None) and (
        not wanted.name_prefix or len(wanted.name_prefix) in PREFIX_LENGTHS
    )


def _terms(wanted: JobFilter) -> Iterator[tuple[str, str]]:
    if wanted.user_id is None:
        if wanted.worker is not None:
            yield "worker", wanted.worker
        if wanted.pool is not None:
            yield "pool", wanted.pool
        return
    if wanted.name_prefix:
        length = max(length for length in PREFIX_LENGTHS if length <= len(wanted.name_prefix))
        yield _of_user(wanted.user_id, "name", wanted.name_prefix[:length])
    if wanted.tag is not None:
        yield _of_user(wanted.user_id, "tag", wanted.tag)
    if wanted.label is not None:
        yield _of_user(wanted.user_id, "label", wanted.label)


def _of_user(user_id: str, kind: str, value: str) -> tuple[str, str]:
    """A term of this user, whose name has no NUL. Terms of guests are as before there were users."""
    return (kind, value) if user_id == GUEST else (f"user-{kind}", f"{user_id}\0{value}")
