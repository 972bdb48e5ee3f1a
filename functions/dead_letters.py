"""Dead letters: messages that were delivered too often. A push subscription of Pub/Sub posts each one."""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Request, Response

from cloud_executor.errors import Forbidden
from cloud_executor.jobs.pools.dead_letters import DeadLetters
from cloud_executor.model.access.owner import id_in
from cloud_executor.model.jobs.message import InvalidMessage, decode_message
from cloud_executor.ports import JobNotFound
from functions.transport import responses
from functions.transport.errors import NoSuchRoute
from functions.transport.identity import bearer_token
from functions.transport.request_body import document
from functions.transport.target import Target

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pusher:
    """The account as which Pub/Sub pushes, and the verification of its identity tokens."""

    account: str
    verified: Callable[[str], Mapping[str, Any]]

    def check(self, request: Request) -> None:
        """Raises Forbidden, Unavailable."""
        claims = self.verified(bearer_token(request))
        if claims.get("email") != self.account or claims.get("email_verified") is not True:
            raise Forbidden("The identity token belongs to an account that may not push dead letters.")


@dataclass(frozen=True, slots=True)
class DeadLetterRoute:
    """Records the dead letter of each POST, whatever its path.

    Pub/Sub delivers the message again after any response but success, so a message that is malformed or names an
    unknown job is logged and acknowledged.
    """

    dead_letters: DeadLetters
    pusher: Pusher | None
    """Without it, anyone may push, such as an emulator."""

    def respond(self, request: Request, target: Target) -> Response:
        """Raises NoSuchRoute, Forbidden, Unavailable, TooLarge, BrokenUpload."""
        if request.method != "POST":
            raise NoSuchRoute
        if self.pusher is not None:
            try:
                self.pusher.check(request)
            except Forbidden as error:
                fields = {"action": "dead_letter", "reason": str(error)}
                logger.warning("dead letter rejected", extra=fields, exc_info=True)
                raise
        self._record(document(request))
        return responses.text("", 204)

    def _record(self, body: bytes) -> None:
        """Return the message's job, so that it is published again, or record that it failed. Raises Unavailable."""
        job_hash = _job_hash(body)
        if job_hash is None:
            logger.error("malformed dead letter", extra={"action": "dead_letter", "event": repr(body[:500])})
            return
        try:
            self.dead_letters.give_up(job_hash)
        except JobNotFound:
            logger.warning(
                "dead letter for an unknown job", extra={"action": "dead_letter", "job_hash": id_in(job_hash)}
            )


def _job_hash(body: bytes) -> str | None:
    try:
        push = json.loads(body)
        message = push.get("message") if isinstance(push, dict) else None
        data = message.get("data") if isinstance(message, dict) else None
        return decode_message(base64.b64decode(data, validate=True)) if isinstance(data, str) else None
    except (ValueError, RecursionError, binascii.Error, InvalidMessage):
        return None
