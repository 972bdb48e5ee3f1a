"""Lists of jobs, filtered by the server if it can and here otherwise."""

from __future__ import annotations

import heapq
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from cloud_executor.client.errors import ServerError
from cloud_executor.client.job_info import JobInfo
from cloud_executor.client.transport import Transport, json_of

PAGE_JOBS = 200
"""Number of jobs in one request."""

LARGEST_PAGE_JOBS = 1000

_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list. Conditions that are None or empty do not apply."""

    statuses: Collection[str] = ()
    label: str | None = None
    tag: str | None = None
    name: str | None = None
    """Beginning of the job's name."""
    worker: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    order: Literal["newest", "oldest"] = "newest"

    def query(self) -> dict[str, str | list[str]]:
        conditions: dict[str, str | list[str] | None] = {
            "status": next(iter(self.statuses), None),
            "label": self.label,
            "tag": self.tag,
            "name": self.name,
            "worker": self.worker,
            "created_after": _wire(self.created_after),
            "created_before": _wire(self.created_before),
            "order": self.order,
        }
        return {name: value for name, value in conditions.items() if value}

    def matches(self, job: JobInfo) -> bool:
        """Whether the job belongs to the list: servers of other versions ignore conditions."""
        created = job.create_time or ""
        return (
            (not self.statuses or job.status in self.statuses)
            and (self.label is None or self.label in job.labels)
            and (self.tag is None or self.tag in job.tags)
            and (self.name is None or (job.name or "").startswith(self.name))
            and (self.worker is None or job.worker == self.worker)
            # The times have a fixed form, in which the order of strings is that of times.
            and (self.created_after is None or created >= (_wire(self.created_after) or ""))
            and (self.created_before is None or created < (_wire(self.created_before) or ""))
        )


def list_jobs(transport: Transport, wanted: JobFilter, limit: int | None) -> Iterator[JobInfo]:
    """Yield up to `limit` jobs in order. Pages are read as the iterator is consumed."""
    # One list for each status: not every server accepts several of them at once.
    parts = [replace(wanted, statuses=(status,)) for status in dict.fromkeys(wanted.statuses)] or [wanted]
    lists = [_ordered(transport, part, min(limit or PAGE_JOBS, PAGE_JOBS)) for part in parts]
    count = 0
    for job in heapq.merge(*lists, key=_create_time, reverse=wanted.order == "newest"):
        if wanted.matches(job):
            count += 1
            yield job
            if count == limit:
                return


def _ordered(transport: Transport, wanted: JobFilter, page_jobs: int) -> Iterator[JobInfo]:
    query = {**wanted.query(), "limit": str(page_jobs)}
    pages = _pages(transport, query)
    first, next_query = next(pages)
    if next_query is not None and "order" in next_query:
        yield from first
        for page, _ in pages:
            yield from page
        return
    # The server does not know the order, or has sent everything: sort here.
    jobs = [*first, *(job for page, _ in pages for job in page)]
    yield from sorted(jobs, key=_create_time, reverse=wanted.order == "newest")


def _pages(
    transport: Transport, query: dict[str, str | list[str]]
) -> Iterator[tuple[list[JobInfo], dict[str, list[str]] | None]]:
    """Yield each page, with the query of the next one."""
    while True:
        response = transport.request("GET", "/rest/executor/", query=query)
        document = json_of(response)
        if not isinstance(document, dict):
            raise ServerError
        found = _NEXT.search(response.headers.get("link", ""))
        following = parse_qs(urlsplit(found[1]).query) if found is not None else None
        yield list(map(JobInfo.from_wire, document.values())), following
        if following is None:
            return
        # A server that does not know the order sends everything, so larger pages save requests.
        query = {**following, **({} if "order" in following else {"limit": str(LARGEST_PAGE_JOBS)})}


def _create_time(job: JobInfo) -> str:
    return job.create_time or ""


def _wire(time: datetime | None) -> str | None:
    """The time in the server's format. A time without a zone is local."""
    if time is None:
        return None
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
