"""What the queue's messages say: `{"hash": …}`, in UTF-8 that may have lone surrogates: any text can be a hash."""

from __future__ import annotations

import json

from cloud_executor.errors import Invalid


class InvalidMessage(Invalid):
    """This is no message of ours."""


def encode_message(job_hash: str) -> bytes:
    return json.dumps({"hash": job_hash}, ensure_ascii=False).encode("utf-8", "surrogatepass")


def decode_message(data: bytes) -> str:
    """The hash of the job to run. Raises InvalidMessage."""
    try:
        document = json.loads(data.decode("utf-8", "surrogatepass"))
    except ValueError:
        raise InvalidMessage from None
    job_hash = document.get("hash") if isinstance(document, dict) else None
    if not isinstance(job_hash, str):
        raise InvalidMessage
    return job_hash
