"""What Firestore's documents hold: jobs, pieces of output segments and workers, as fields, and the keys of them all."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from google.cloud import firestore

from cloud_executor.errors import Invalid, TooLarge
from cloud_executor.model.job import Job, OutputSegment, Status
from cloud_executor.model.worker import WorkerRecord

T = TypeVar("T")

PIECE_LENGTH = 250_000
"""characters in a piece of a segment: less than 1 MiB, also where each is four bytes long"""

BODY_BYTES = 1_000_000
"""of a job or a worker: a document may be 1 MiB, with all that is beside it"""

NUMBERS = range(-(2**63), 2**63)
"""numbers of segments: those of an int64 field"""

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_POSITION = b"page\0"
_LONGEST_POSITION = 1400
"""bytes, of the 1500 that an index holds of a value"""

GONE = firestore.DELETE_FIELD
"""for a field that a document is not to have"""

JOB = msgspec.json.Decoder(Job)
WORKER = msgspec.json.Decoder(WorkerRecord)


class Piece(NamedTuple):
    """A part of a segment: one document."""

    id: str
    fields: dict[str, object]


def key(text: str) -> str:
    """A name for a document, and a value that an index holds whole, for any text: itself where that is possible."""
    if _PLAIN.fullmatch(text):
        return text
    return f"~{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _sorted_as(text: bytes) -> bytes:
    """A value that an index holds whole, different for different texts, and in their order but for very long ones."""
    if len(text) <= _LONGEST_POSITION:
        return text
    digest = hashlib.sha256(text).digest()
    return text[: _LONGEST_POSITION - len(digest)] + digest


def _position(job: Job) -> bytes:
    """Its place in the list of all jobs."""
    return _sorted_as(f"{job.create_time}\0{job.hash}".encode("utf-8", "surrogatepass"))


def page_after(job: Job) -> str:
    """The `next` of a page that ends with this job."""
    return base64.urlsafe_b64encode(_POSITION + _position(job)).decode()


def parse_position(after: str) -> bytes:
    """What is in a page's `next`. Raises Invalid."""
    try:
        position = base64.b64decode(after, altchars="-_", validate=True)
    except ValueError:
        position = b""
    if not position.startswith(_POSITION) or len(position) > len(_POSITION) + _LONGEST_POSITION:
        raise Invalid("This is not the start of a page.")
    return position.removeprefix(_POSITION)


def job_fields(job: Job) -> dict[str, object]:
    """What is stored of a job; GONE: nothing, so that no index has it. Raises TooLarge."""
    waits = job.status == Status.CREATED and job.pool is not None and job.published_at is None
    leased = job.status == Status.RUNNING and job.lease_expires is not None
    return {
        "body": _bounded("job", _encoded(job)),
        "position": _position(job),
        "status": key(job.status),
        "userId": key(job.user_id),
        "leaseExpires": job.lease_expires if leased else GONE,
        "unpublished": job.create_time if waits else GONE,
        "outputExpires": GONE if job.output_expires is None else job.output_expires,
    }


def worker_fields(worker: WorkerRecord) -> dict[str, object]:
    """What is stored of a worker. Raises TooLarge."""
    order = _sorted_as(worker.client_id.encode("utf-8", "surrogatepass"))
    return {"order": order, "body": _bounded("worker", _encoded(worker))}


def pieces_of(segment: OutputSegment) -> list[Piece]:
    """Documents that replace those of a former segment of this number, though it may have had more of them."""
    texts = [segment.output[start : start + PIECE_LENGTH] for start in range(0, len(segment.output), PIECE_LENGTH)]
    return [
        Piece(
            piece_id(segment.number, part),
            {"number": segment.number, "part": part, "parts": len(texts or [""]), "text": _storable(text)},
        )
        for part, text in enumerate(texts or [""])
    ]


def piece_id(number: int, part: int) -> str:
    """Sorts as the numbers do."""
    return f"{number - NUMBERS[0]:020}-{part:02}"


def joined(job_hash: str, pieces: Sequence[Any]) -> Iterator[OutputSegment]:
    """The segments of which all pieces are here. Pieces beyond a segment's end are of one that it replaced."""
    for number, group in itertools.groupby(pieces, lambda piece: int(piece.get("number"))):
        found = list(group)
        count = found[0].get("parts")
        if [piece.get("part") for piece in found[:count]] == list(range(count)):
            yield OutputSegment(job_hash, number, "".join(_loaded(piece.get("text")) for piece in found[:count]))


def _encoded(value: msgspec.Struct) -> str | bytes:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        # A lone surrogate, which a client's JSON may hold and UTF-8 may not.
        return _storable(json.dumps(msgspec.to_builtins(value), ensure_ascii=False))


def _bounded(kind: str, body: bytes | str) -> bytes | str:
    """Raises TooLarge."""
    if len(body if isinstance(body, bytes) else body.encode()) > BODY_BYTES:
        raise TooLarge(f"All that is known of a {kind} may be {BODY_BYTES} bytes at most.")
    return body


def decoded(decoder: msgspec.json.Decoder[T], snapshot: Any) -> T:  # noqa: ANN401 - the library's types are incomplete
    """The job or worker that a document holds."""
    body = snapshot.get("body")
    if isinstance(body, str):
        return decoder.decode(body)
    return msgspec.convert(json.loads(_loaded(body)), decoder.type)


def _storable(text: str) -> str | bytes:
    """A text where it is one for Firestore too, else its bytes: it has lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def _loaded(stored: str | bytes) -> str:
    return stored if isinstance(stored, str) else stored.decode("utf-8", "surrogatepass")
