"""Who sends a request, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cloud_executor.errors import Forbidden


class Role(StrEnum):
    USER = "user"
    """Creates, follows, and cancels their own jobs."""
    WORKER = "worker"
    """Takes and reports on the jobs of its user, as an external worker; cannot create jobs."""
    ADMIN = "admin"
    """Everything."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of one request."""

    user: str
    roles: frozenset[Role]
    address: str = ""
    """IP address that the request came from, for the log."""

    def may(self, role: Role) -> bool:
        return role in self.roles or Role.ADMIN in self.roles

    def require(self, role: Role) -> None:
        """Raises Forbidden."""
        if not self.may(role):
            article = "an" if role == Role.ADMIN else "a"
            raise Forbidden(f"This request needs the role {role}: send {article} {role}'s token.")


GUEST_ROLES = frozenset({Role.USER, Role.WORKER})
"""Roles of a guest, who sends no credential of their own."""

OPERATOR = Caller("operator", frozenset({Role.ADMIN}))
"""Who runs a command on the server's own machine."""
