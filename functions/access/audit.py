"""Log who changed what, and from where."""

from __future__ import annotations

import logging

from cloud_executor.model.caller import Caller

logger = logging.getLogger(__name__)


def audit(caller: Caller, action: str, **subject: object) -> None:
    """Log that the caller was allowed to change the subject. None values are dropped."""
    fields = {name: value for name, value in subject.items() if value is not None}
    logger.info("audit", extra={"action": action, "user": caller.user, "address": caller.address, **fields})
