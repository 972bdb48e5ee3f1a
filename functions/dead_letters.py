"""Messages that workers were given again and again, as Pub/Sub brings them: a CloudEvent with the message in it."""

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
    """The job of the message has failed. Raises Unavailable: the event is then to come again.

    An event that makes no sense, or names no job, is logged and counts as done: it would not get better.
    """
    job_hash = _job_hash(event_data)
    if job_hash is None:
        logger.error("a dead letter names no job", extra={"action": "dead_letter", "event": repr(event_data)[:500]})
        return
    try:
        dead_letters.give_up(job_hash)
    except JobNotFound:
        logger.warning("a dead letter is of an unknown job", extra={"action": "dead_letter", "job_hash": job_hash})


def _job_hash(event_data: object) -> str | None:
    message = event_data.get("message") if isinstance(event_data, Mapping) else None
    data = message.get("data") if isinstance(message, Mapping) else None
    if not isinstance(data, str):
        return None
    try:
        return decode_message(base64.b64decode(data, validate=True))
    except (binascii.Error, InvalidMessage):
        return None
