"""The fields of requests to the executor API, from JSON to the use cases' types.

A value that is false to JavaScript (missing, null, "", 0, []) says nothing (docs/protocol.md: Update, Workers).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from cloud_executor.errors import Invalid
from cloud_executor.jobs.external_workers import CheckIn
from cloud_executor.model.job import JobUpdate, OutputSegment

Fields = Mapping[str, object]

_PARSE_INT = re.compile(r"\s*([+-]?[0-9]{1,18})")
_MAX_SAFE_INTEGER = 2**53 - 1


def labels(fields: Fields) -> tuple[str, ...]:
    found = fields.get("labels")
    if not found:
        return ()
    if not isinstance(found, list) or not all(isinstance(label, str) for label in found):
        raise Invalid("labels must be a list of texts.")
    return tuple(_checked("labels", label) for label in found)


def job_update(fields: Fields) -> JobUpdate:
    return JobUpdate(
        status=_text(fields, "status"),
        result_hashes=_result_hashes(fields.get("resultHashes")),
        result_super_set=_text(fields, "resultSuperSet"),
        start_time=_text(fields, "startTime"),
        finish_time=_text(fields, "finishTime"),
        worker=_text(fields, "worker"),
        labels=labels(fields) or None,
        # Unlike the others, its 0 says something.
        output_number=None if fields.get("outputNumber") in (None, "", []) else _whole_number(fields, "outputNumber"),
    )


def output_segment(job_hash: str, fields: Fields) -> OutputSegment:
    output = fields.get("output")
    if not isinstance(output, str):
        raise Invalid("output must be a text.")
    return OutputSegment(job_hash, _whole_number(fields, "outputNumber"), output)


def check_in(fields: Fields) -> CheckIn:
    running = fields.get("runningJobs") or []
    if not isinstance(running, list) or not all(isinstance(job_hash, str) for job_hash in running):
        raise Invalid("runningJobs must be a list of job hashes.")
    free = fields.get("availableProcesses") or 0
    if isinstance(free, bool) or not isinstance(free, int | float):
        raise Invalid("availableProcesses must be a number.")
    return CheckIn(
        client_id=_text(fields, "clientId") or "",
        available_processes=int(min(max(free, 0), _MAX_SAFE_INTEGER)),
        labels=labels(fields),
        running_jobs=tuple(_checked("runningJobs", job_hash) for job_hash in running),
    )


def bound(text: str | None) -> int | None:
    """A bound of a range of segments, read as JavaScript's `parseInt` does; None: no bound."""
    found = _PARSE_INT.match(text or "")
    return int(found[1]) if found else None


def page_limit(text: str | None, largest: int) -> int | None:
    """How many jobs a page may have; None: no pages are asked for."""
    if not text:
        return None
    if len(text) > 9 or not text.isdecimal() or not text.isascii() or not 1 <= int(text) <= largest:
        raise Invalid(f"limit must be a number from 1 to {largest}.")
    return int(text)


def _text(fields: Fields, name: str) -> str | None:
    value = fields.get(name)
    if not value:
        return None
    if not isinstance(value, str):
        raise Invalid(f"{name} must be a text.")
    return _checked(name, value)


def _checked(name: str, text: str) -> str:
    """Lone surrogates are legal in JSON, but no store takes them."""
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise Invalid(f"{name} must be Unicode text without lone surrogates.")
    return text


def _result_hashes(value: object) -> dict[str, str] | None:
    if not value and not isinstance(value, dict):
        return None
    if not isinstance(value, dict) or not all(isinstance(blob_hash, str) for blob_hash in value.values()):
        raise Invalid("resultHashes must be an object of name: hash.")
    return {_checked("resultHashes", name): _checked("resultHashes", found) for name, found in value.items()}


def _whole_number(fields: Fields, name: str) -> int:
    value = fields.get(name)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or value != value // 1
        or abs(value) > _MAX_SAFE_INTEGER
    ):
        raise Invalid(f"{name} must be a whole number.")
    return int(value)
