"""Log who changed what, and from where."""

from __future__ import annotations

import logging

from cloud_executor.model.access.caller import Caller

logger = logging.getLogger(__name__)


def audit(caller: Caller, action: str, *, owner: str | None = None, **subject: object) -> None:
    """Log that the caller was allowed to change the subject, of this owner if it is not the caller's own.

    None values are dropped.
    """
    fields = {name: value for name, value in subject.items() if value is not None}
    if owner is not None and owner != caller.user:
        fields["owner"] = owner
    logger.info("audit", extra={"action": action, "user": caller.user, "address": caller.address, **fields})
