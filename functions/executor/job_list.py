"""Read the query of a list of jobs, and make the address of its next page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from cloud_executor.errors import Invalid
from cloud_executor.model.documents.javascript import iso_time
from cloud_executor.model.jobs.job import DOCUMENT_FIELDS
from cloud_executor.model.jobs.job_filter import JobFilter
from functions.executor.fields import page_limit

LARGEST_PAGE = 1000
"""Largest number of jobs that a page may have."""

MAX_STATUSES = 16
"""Maximum number of statuses of a list."""

PARAMETERS = (
    *("status", "label", "tag", "name", "created_after", "created_before", "worker", "order", "fields", "limit"),
    *("after", "user"),
)
"""Parameters of a page of jobs. Others are ignored."""


@dataclass(frozen=True, slots=True)
class JobListQuery:
    """A page of jobs that a client wants."""

    wanted: JobFilter
    limit: int
    newest_first: bool
    after: str | None
    fields: frozenset[str] | None
    """Fields of the documents; None: all."""
    parameters: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, parameters: Iterable[tuple[str, str]]) -> JobListQuery | None:
        """None if the query has no `limit`: the client wants the whole list. Raises Invalid."""
        # As with every parameter, an empty value counts as absent, and the first one counts, except for `status`.
        given = tuple((name, value) for name, value in parameters if name in PARAMETERS and value)
        first: dict[str, str] = {}
        for name, value in given:
            first.setdefault(name, value)
        limit = page_limit(first.get("limit"), LARGEST_PAGE)
        if limit is None:
            return None
        statuses = tuple(dict.fromkeys(value for name, value in given if name == "status"))
        if len(statuses) > MAX_STATUSES:
            raise Invalid(f"status must not be given more than {MAX_STATUSES} times.")
        if first.get("order", "oldest") not in ("oldest", "newest"):
            raise Invalid("order must be oldest or newest.")
        wanted = JobFilter(
            statuses=statuses,
            label=first.get("label"),
            tag=first.get("tag"),
            name_prefix=first.get("name"),
            worker=first.get("worker"),
            created_from=_time("created_after", first.get("created_after")),
            created_before=_time("created_before", first.get("created_before")),
        )
        newest_first = first.get("order") == "newest"
        return cls(wanted, limit, newest_first, first.get("after"), _fields(first.get("fields")), given)

    def next_page(self, after: str) -> str:
        """The value of the header Link."""
        kept = [(name, value) for name, value in self.parameters if name != "after"]
        return f'</rest/executor/?{urlencode([*kept, ("after", after)])}>; rel="next"'

    def selected(self, document: Mapping[str, object]) -> Mapping[str, object]:
        """The fields of a job's document that the client wants."""
        if self.fields is None:
            return document
        return {name: value for name, value in document.items() if name in self.fields}


def _time(name: str, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
        return iso_time(time if time.tzinfo is not None else time.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise Invalid(f"{name} must be a time such as 2026-01-31T12:00:00Z.") from None


def _fields(text: str | None) -> frozenset[str] | None:
    if text is None:
        return None
    names: Sequence[str] = text.split(",")
    for name in names:
        if name not in DOCUMENT_FIELDS:
            raise Invalid(f"fields must be names of a job's fields, separated by commas; {name[:100]!r} is not one.")
    return frozenset(names)
