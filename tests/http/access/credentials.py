"""Servers in this process that need credentials, and the credentials of their callers."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cloud_executor.access.tokens import Tokens
from cloud_executor.composition import open_tokens
from cloud_executor.model.access.caller import OPERATOR, Role
from cloud_executor.model.access.token import token_of
from cloud_executor.settings import Settings

Headers = Mapping[str, str]


@dataclass(frozen=True)
class Callers:
    """Makes tokens in the store of a server."""

    tokens: Tokens

    @classmethod
    def of(cls, data: Path, pepper: str = "") -> Callers:
        return cls(open_tokens(Settings(data=data, token_pepper=pepper)))

    def token(self, user: str = "ada", role: Role = Role.USER, lifetime: timedelta | None = None) -> str:
        return self.tokens.create(user, user, role, lifetime, OPERATOR)[0]

    def headers(self, user: str = "ada", role: Role = Role.USER) -> Headers:
        return bearer(self.token(user, role))

    def expired(self) -> str:
        past = Tokens(self.tokens.store, self.tokens.pepper, lambda: datetime.now(UTC) - timedelta(days=2))
        return past.create("old", "ada", Role.ADMIN, timedelta(days=1), OPERATOR)[0]

    def revoked(self) -> str:
        token, record = self.tokens.create("lost", "ada", Role.ADMIN, None, OPERATOR)
        self.tokens.revoke(record.id, OPERATOR)
        return token


UNKNOWN = token_of(bytes(32))
"""A token that can exist but does not."""


def bearer(token: str) -> Headers:
    return {"Authorization": f"Bearer {token}"}


def basic(token: str, user: str = "anyone") -> Headers:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()}


def api_token(token: str) -> Headers:
    return {"x-api-token": token}
