"""Create, verify, list, and revoke access tokens."""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from cloud_executor.clock import Clock
from cloud_executor.errors import NotFound, Unauthorized
from cloud_executor.model.access import token as tokens
from cloud_executor.model.access.caller import Caller, Role
from cloud_executor.model.access.token import TokenRecord
from cloud_executor.ports import TokenStore

logger = logging.getLogger(__name__)


class TokenNotFound(NotFound):
    """No token has this id."""


class MistypedToken(Unauthorized):
    """The token is incomplete or mistyped; copy it again."""


class UnknownToken(Unauthorized):
    """The token is unknown or was revoked; ask an administrator for a new one."""


class ExpiredToken(Unauthorized):
    """The token has expired; ask an administrator for a new one."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The use cases of access tokens. Safe for concurrent use."""

    store: TokenStore
    pepper: str
    clock: Clock

    def create(
        self, name: str, user: str, role: Role, lifetime: timedelta | None, creator: Caller
    ) -> tuple[str, TokenRecord]:
        """Create a token and return it with its record. Nobody can find out the token itself later. Raises Invalid."""
        now = self.clock()
        token = tokens.token_of(secrets.token_bytes(tokens.SECRET_BYTES))
        digest = tokens.digest_of(token, self.pepper)
        record = TokenRecord(
            id=tokens.id_of(digest),
            digest=digest,
            name=tokens.token_name("name", name),
            user=tokens.user_name("user", user),
            role=role,
            created=now,
            expires=None if lifetime is None else now + lifetime,
            created_by=creator.user,
        )
        self.store.add(record)
        self._audit("create_token", record, creator)
        return token, record

    def verify(self, token: str) -> TokenRecord:
        """The record of a valid token. Raises Unauthorized, and a subclass of it that says why."""
        if not tokens.is_well_formed(token):
            raise MistypedToken
        digest = tokens.digest_of(token, self.pepper)
        record = self.store.get(tokens.id_of(digest))
        if record is None or not hmac.compare_digest(record.digest, digest):
            raise UnknownToken
        if record.expires is not None and record.expires <= self.clock():
            raise ExpiredToken
        return record

    def all(self) -> Sequence[TokenRecord]:
        """All tokens, oldest first."""
        return sorted(self.store.tokens(), key=lambda record: (record.created, record.id))

    def has_admin(self) -> bool:
        """Whether there is an admin's token that has not expired."""
        now = self.clock()
        return any(
            record.role == Role.ADMIN and (record.expires is None or record.expires > now)
            for record in self.store.tokens()
        )

    def revoke(self, token_id: str, revoker: Caller) -> None:
        """Delete a token. Raises TokenNotFound."""
        record = self.store.get(token_id)
        if record is None or not self.store.delete(token_id):
            raise TokenNotFound
        self._audit("revoke_token", record, revoker)

    def _audit(self, action: str, record: TokenRecord, caller: Caller) -> None:
        logger.info(
            "audit",
            extra={
                "action": action,
                "user": caller.user,
                "address": caller.address,
                "token_id": record.id,
                "token_user": record.user,
                "token_role": record.role,
            },
        )
