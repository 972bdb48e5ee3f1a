"""Read the fields of requests to the executor API.

An empty value (null, false, "", 0, or []) counts as absent (docs/protocol.md: Update, Workers).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from cloud_executor.errors import Invalid
from cloud_executor.jobs.external_workers import CheckIn
from cloud_executor.model.documents.json_fields import (
    MAX_SAFE_INTEGER,
    JsonFields,
    json_object,
    number,
    string,
    strings,
    whole_number,
)
from cloud_executor.model.jobs.job import JobUpdate, OutputSegment

Fields = Mapping[str, object]

_NOT_EMPTY: tuple[tuple[str, object], ...] = (("resultHashes", {}), ("outputNumber", 0))
"""Fields with a value that does not count as absent, although it is empty."""

MAX_STRING = 256
"""Maximum length of a stored string, such as a label, a name, or a time, in characters."""
MAX_JOB_ID = 1024
"""Maximum length of a job's id in UTF-8, in bytes; a key in Firestore may have 1,500."""
MAX_LABELS = 64
"""Maximum number of labels of a job or a worker, and of tags of a job."""
MAX_RUNNING_JOBS = 1000
"""Maximum number of jobs that a worker may report as running."""
MAX_ARTIFACTS = 10_000
"""Maximum number of artifacts in an update."""
MAX_ARTIFACT_NAME = 512
"""Maximum length of an artifact's name and hash, in characters."""

LONGEST_WAIT_SECONDS = 25
"""Longest time that a request may wait, in seconds: less than the usual timeouts of clients and proxies."""

_SECONDS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3})?", re.ASCII)

_PARSE_INT = re.compile(r"\s*([+-]?[0-9]{1,18})")


def labels(fields: Fields) -> tuple[str, ...]:
    return _given(fields).optional("labels", _labels) or ()


def name(fields: Fields) -> str | None:
    return _given(fields).optional("name", _storable_string)


def tags(fields: Fields) -> tuple[str, ...]:
    return _given(fields).optional("tags", _labels) or ()


def job_update(fields: Fields) -> JobUpdate:
    given = _given(fields)
    return JobUpdate(
        token=claim_token(fields),
        status=given.optional("status", _storable_string),
        result_hashes=given.optional("resultHashes", _result_hashes),
        result_super_set=given.optional("resultSuperSet", _storable_string),
        start_time=given.optional("startTime", _storable_string),
        finish_time=given.optional("finishTime", _storable_string),
        worker=given.optional("worker", _storable_string),
        labels=given.optional("labels", _labels),
        output_number=given.optional("outputNumber", whole_number),
    )


def claim_token(fields: Fields) -> str | None:
    """Token of a worker's claim, from the response to its check-in."""
    return _given(fields).optional("token", _storable_string)


def output_segment(job_hash: str, fields: Fields) -> OutputSegment:
    given = JsonFields(fields)
    return OutputSegment(job_hash, given.required("outputNumber", whole_number), given.required("output", string))


def check_in(fields: Fields) -> CheckIn:
    given = _given(fields)
    free = given.optional("availableProcesses", number) or 0
    return CheckIn(
        client_id=given.optional("clientId", _storable_string) or "",
        available_processes=int(min(max(free, 0), MAX_SAFE_INTEGER)),
        labels=given.optional("labels", _labels) or (),
        running_jobs=given.optional("runningJobs", _running_jobs) or (),
    )


def bound(text: str | None) -> int | None:
    """A bound of a range of segments, parsed like JavaScript's `parseInt`; None: no bound."""
    found = _PARSE_INT.match(text or "")
    return int(found[1]) if found else None


def switch(name: str, text: str | None) -> bool:
    """A query parameter that is true or false; false if it is absent. Raises Invalid."""
    if text in (None, "", "false"):
        return False
    if text == "true":
        return True
    raise Invalid(f"{name} must be true or false.")


def wait_seconds(text: str | None) -> float | None:
    """The time that a request may wait; None if it does not ask to wait. Raises Invalid."""
    if not text:
        return None
    if not _SECONDS.fullmatch(text) or float(text) > LONGEST_WAIT_SECONDS:
        raise Invalid(f"wait must be a number of seconds from 0 to {LONGEST_WAIT_SECONDS}.")
    return float(text)


def known_output_number(query: Mapping[str, str]) -> tuple[int | None, ...]:
    """The output number that the client knows, which can be None; empty if it names none. Raises Invalid."""
    text = query.get("outputNumber")
    if not text:
        return ()
    if text == "null":
        return (None,)
    number = bound(text)
    if number is None or str(number) != text:
        raise Invalid("outputNumber must be a whole number or null.")
    return (number,)


def page_limit(text: str | None, largest: int) -> int | None:
    """Maximum number of jobs in a page; None if the request does not ask for pages."""
    if not text:
        return None
    if len(text) > 9 or not text.isdecimal() or not text.isascii() or not 1 <= int(text) <= largest:
        raise Invalid(f"limit must be a whole number from 1 to {largest}.")
    return int(text)


def _given(fields: Fields) -> JsonFields:
    return JsonFields({name: value for name, value in fields.items() if value or (name, value) in _NOT_EMPTY})


def job_id(decoded: str) -> str:
    """The id of a job to create. Raises Invalid."""
    if len(decoded.encode("utf-8", "replace")) > MAX_JOB_ID:
        raise Invalid(f"The job's id must not have more than {MAX_JOB_ID} bytes.")
    return _storable_string("The job's id", decoded, MAX_JOB_ID)


def _storable_string(path: str, value: object, longest: int = MAX_STRING) -> str:
    """A string without lone surrogates, which are valid in JSON but in no store."""
    found = string(path, value)
    if len(found) > longest:
        raise Invalid(f"{path} must not have more than {longest} characters.")
    if not found.isascii() and any("\ud800" <= character <= "\udfff" for character in found):
        raise Invalid(f"{path} must not contain lone surrogates.")
    return found


def _storable_strings(path: str, value: object, most: int, longest: int = MAX_STRING) -> tuple[str, ...]:
    found = strings(path, value)
    if len(found) > most:
        raise Invalid(f"{path} must not have more than {most} elements.")
    return tuple(_storable_string(f"Each element of {path}", element, longest) for element in found)


def _labels(path: str, value: object) -> tuple[str, ...]:
    return _storable_strings(path, value, MAX_LABELS)


def _running_jobs(path: str, value: object) -> tuple[str, ...]:
    return _storable_strings(path, value, MAX_RUNNING_JOBS, MAX_JOB_ID)


def _result_hashes(path: str, value: object) -> dict[str, str]:
    hashes = json_object(path, value)
    if len(hashes) > MAX_ARTIFACTS:
        raise Invalid(f"{path} must not have more than {MAX_ARTIFACTS} entries.")
    return {
        _storable_string(f"Each name in {path}", name, MAX_ARTIFACT_NAME): _storable_string(
            f"Each value of {path}", found, MAX_ARTIFACT_NAME
        )
        for name, found in hashes.items()
    }
