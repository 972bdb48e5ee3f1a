"""The fields and ids of Firestore documents: jobs, pieces of output segments, and worker records."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from itertools import starmap
from typing import Any, NamedTuple, TypeVar

import msgspec
from google.cloud import firestore

from cloud_executor.backends.job_records import (
    SEGMENT_NUMBERS,
    InvalidPage,
    awaits_own_worker,
    decode_record,
    decode_string,
    encode_record,
    encode_string,
    lease_end,
    position_after,
    position_of,
)
from cloud_executor.backends.job_terms import terms_of
from cloud_executor.errors import TooLarge
from cloud_executor.model.jobs.fair_share import is_held, is_queued
from cloud_executor.model.jobs.job import Job, OutputSegment
from cloud_executor.model.jobs.transitions import message_lost_at
from cloud_executor.model.jobs.worker import WorkerRecord

T = TypeVar("T")

PIECE_LENGTH = 250_000
"""Length of a piece of an output segment, in characters: less than 1 MiB even if each takes four bytes."""

BODY_BYTES = 1_000_000
"""Largest body of a job or worker, in bytes. A document, with its other fields, can have 1 MiB."""

LONGEST_INDEXED = 1400
"""Longest value that is indexed whole, in bytes. Firestore indexes the first 1500 bytes of a value."""

KEY_BYTES = 16
"""Length of the keys in indexed values of the waiting line, in bytes."""

GONE = firestore.DELETE_FIELD
"""Value of a field that a document must not have."""

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Piece(NamedTuple):
    """A document that holds a part of an output segment."""

    id: str
    fields: dict[str, object]


# Indexed values -------------------------------------------------------------------------------------------------------


def document_key(string: str) -> str:
    """A document id for any string, indexed whole: the string itself where that is possible, else its hash."""
    if _PLAIN.fullmatch(string):
        return string
    return f"~{hashlib.sha256(encode_string(string)).hexdigest()}"


def term_key(kind: str, value: str) -> str:
    """A term of a job, as an indexed value."""
    return f"{kind}:{document_key(value)}"


def list_position(job: Job) -> bytes:
    """The job's position in lists, as an indexed value."""
    return _sortable(position_of(job))


def list_position_after(page_token: str) -> bytes:
    """The position of the last job on the page before. Raises InvalidPage."""
    position = position_after(page_token)
    if len(position) > LONGEST_INDEXED:
        raise InvalidPage
    return position


def line_key(user_id: str, pool: str) -> bytes:
    """Beginning of the indexed values of the jobs of a user that wait for a pool."""
    return _key(f"{user_id}\0{pool}")


def pool_key(pool: str) -> bytes:
    """Beginning of the indexed values of the jobs that wait for a pool."""
    return _key(pool)


def _key(string: str) -> bytes:
    """KEY_BYTES that all values of one kind begin with, so that they are a range of the index."""
    return hashlib.sha256(encode_string(string)).digest()[:KEY_BYTES]


def _sortable(data: bytes) -> bytes:
    """A value that is indexed whole, unique to the data, and sorts like it, except among very long ones."""
    if len(data) <= LONGEST_INDEXED:
        return data
    digest = hashlib.sha256(data).digest()
    return data[: LONGEST_INDEXED - len(digest)] + digest


# Jobs and workers -----------------------------------------------------------------------------------------------------


def job_fields(job: Job) -> dict[str, object]:
    """The fields of a job's document. GONE keeps the job out of an index. Raises TooLarge."""
    lease_expires, lost_at = lease_end(job), message_lost_at(job)
    return {
        "body": _body("job", job),
        "position": list_position(job),
        "status": document_key(job.status),
        "userId": document_key(job.user_id),
        "activePool": document_key(job.pool) if job.pool is not None and awaits_own_worker(job) else GONE,
        "terms": sorted(starmap(term_key, terms_of(job))) or GONE,
        "leaseExpires": GONE if lease_expires is None else lease_expires,
        # The fields of the waiting line (`waiting_line`).
        "unpublished": line_key(job.user_id, str(job.pool)) + list_position(job) if is_held(job) else GONE,
        "window": line_key(job.user_id, str(job.pool)) if is_queued(job) else GONE,
        "queued": pool_key(str(job.pool)) + list_position(job) if is_queued(job) else GONE,
        "messageLostAt": GONE if lost_at is None else lost_at,
        "outputExpires": GONE if job.output_expires is None else job.output_expires,
    }


def worker_fields(worker: WorkerRecord) -> dict[str, object]:
    """The fields of a worker's document. Raises TooLarge."""
    return {"order": _sortable(encode_string(worker.client_id)), "body": _body("worker", worker)}


def decoded(decoder: msgspec.json.Decoder[T], snapshot: Any) -> T:  # noqa: ANN401 - the library's types are incomplete
    """The job or worker that a document holds."""
    return decode_record(decoder, body_of(snapshot))


def body_of(snapshot: Any) -> bytes:  # noqa: ANN401 - as above
    """The encoded job or worker that a document holds."""
    body = snapshot.get("body")
    return body.encode() if isinstance(body, str) else body


def marks_of(snapshot: Any) -> list[str]:  # noqa: ANN401 - as above
    """The marks of the latest changes of a job, oldest first."""
    return list((snapshot.to_dict() or {}).get("marks", ()))


def _body(kind: str, record: msgspec.Struct) -> str | bytes:
    """Raises TooLarge."""
    data = encode_record(record)
    if len(data) > BODY_BYTES:
        raise TooLarge(f"The record of a {kind} can have up to {BODY_BYTES} bytes; shorten its fields.")
    return _storable(data)


# Output ---------------------------------------------------------------------------------------------------------------


def pieces_of(segment: OutputSegment) -> list[Piece]:
    """The documents of a segment. They replace an earlier segment of the same number, even one with more pieces."""
    starts = range(0, max(1, len(segment.output)), PIECE_LENGTH)
    return [
        Piece(
            piece_id(segment.number, part),
            {
                "number": segment.number,
                "part": part,
                "parts": len(starts),
                "text": _storable(encode_string(segment.output[start : start + PIECE_LENGTH])),
            },
        )
        for part, start in enumerate(starts)
    ]


def piece_id(number: int, part: int) -> str:
    """A document id that sorts by number and part."""
    return f"{number - SEGMENT_NUMBERS.start:020}-{part:02}"


def joined(job_hash: str, pieces: Sequence[Any]) -> Iterator[OutputSegment]:
    """The segments that are complete in these pieces.

    Pieces beyond the end of a segment belong to a longer segment that it replaced.
    """
    for number, group in itertools.groupby(pieces, lambda piece: int(piece.get("number"))):
        found = list(group)
        count = found[0].get("parts")
        if [piece.get("part") for piece in found[:count]] == list(range(count)):
            yield OutputSegment(job_hash, number, "".join(_loaded(piece.get("text")) for piece in found[:count]))


def _storable(data: bytes) -> str | bytes:
    """A string if Firestore can store the encoded string as one, else the bytes: it has lone surrogates."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _loaded(stored: str | bytes) -> str:
    return stored if isinstance(stored, str) else decode_string(stored)
