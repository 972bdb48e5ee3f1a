"""Messages of the queue: `{"hash": …}` in UTF-8, with lone surrogates allowed, because any string can be a job's id."""

from __future__ import annotations

import json

from cloud_executor.errors import Invalid


class InvalidMessage(Invalid):
    """The message is not a JSON object with a hash; it was not published by this project."""


def encode_message(job_hash: str) -> bytes:
    return json.dumps({"hash": job_hash}, ensure_ascii=False).encode("utf-8", "surrogatepass")


def decode_message(data: bytes) -> str:
    """The id of the job to run. Raises InvalidMessage."""
    try:
        document = json.loads(data.decode("utf-8", "surrogatepass"))
    except ValueError:
        raise InvalidMessage from None
    job_hash = document.get("hash") if isinstance(document, dict) else None
    if not isinstance(job_hash, str):
        raise InvalidMessage
    return job_hash
