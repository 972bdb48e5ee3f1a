"""Dead letters: messages that were delivered too often. Pub/Sub sends each one in a CloudEvent."""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Mapping

from cloud_executor.jobs.dead_letters import DeadLetters
from cloud_executor.model.message import InvalidMessage, decode_message
from cloud_executor.ports import JobNotFound

logger = logging.getLogger(__name__)


def record_dead_letter(dead_letters: DeadLetters, event_data: object) -> None:
    """Return the message's job, so that it is published again, or record that it failed.

    Raises Unavailable: the event must then be delivered again.

    An event that is malformed or names an unknown job is logged and dropped, because a retry would not help.
    """
    job_hash = _job_hash(event_data)
    if job_hash is None:
        logger.error("malformed dead letter", extra={"action": "dead_letter", "event": repr(event_data)[:500]})
        return
    try:
        dead_letters.give_up(job_hash)
    except JobNotFound:
        logger.warning("dead letter for an unknown job", extra={"action": "dead_letter", "job_hash": job_hash})


def _job_hash(event_data: object) -> str | None:
    message = event_data.get("message") if isinstance(event_data, Mapping) else None
    data = message.get("data") if isinstance(message, Mapping) else None
    if not isinstance(data, str):
        return None
    try:
        return decode_message(base64.b64decode(data, validate=True))
    except (binascii.Error, InvalidMessage):
        return None
