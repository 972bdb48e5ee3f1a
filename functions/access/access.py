"""The one place that decides who sends a request and whether they may (docs/security.md: Authentication)."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any

from cloud_executor.access.quotas import Quotas
from cloud_executor.access.tokens import Tokens
from cloud_executor.clock import Clock, system_clock
from cloud_executor.errors import Forbidden, Unauthorized
from cloud_executor.model.access.caller import GUEST_ROLES, Caller, Role
from cloud_executor.model.access.owner import GUEST
from cloud_executor.ports import Identities, Identity
from cloud_executor.settings import SHORT_NONCE
from functions.access.credentials import Credential, Kind, address_of, credential_of, sender_of
from functions.access.decisions import Decisions
from functions.access.rates import RequestRates
from functions.access.throttle import Throttle

logger = logging.getLogger(__name__)

ADMIN = "admin"
"""User whose token the settings contain."""


class WrongNonce(Forbidden):
    """The header x-executor-nonce is missing or wrong; set it to the server's nonce."""


class WrongWorkerNonce(Forbidden):
    """The header x-executor-nonce is missing or wrong; a worker must set it to the server's nonce for workers."""


class UnknownAccount(Forbidden):
    """This Google account may not use the server; ask an administrator to add it to EXECUTOR_USERS."""


class NoDeletion(Forbidden):
    """This server deletes nothing on request; its operator can allow that with EXECUTOR_ALLOW_DELETE=yes."""


class Area(Enum):
    """What a request is about. The nonce was made for jobs: WebGME's clients do not send it with other requests."""

    BLOBS = "blobs"
    JOBS = "jobs"
    TOKENS = "tokens"


@dataclass(frozen=True, slots=True)
class Access:
    """Admits callers by the configured methods. Safe for use by threads."""

    is_open: bool = True
    """Whether callers without a credential are guests."""
    nonce: str | None = None
    """Secret that makes its sender a guest. Requests about jobs need it even if the server is open."""
    worker_nonce: str | None = None
    """Secret that replaces the nonce for the requests that only workers send; None: they need the nonce."""
    tokens: Tokens | None = None
    admin_token: str | None = None
    """Token of the user ADMIN that is valid without being stored."""
    identities: Identities | None = None
    users: frozenset[str] = frozenset()
    """Accounts and domains of the identities that are users."""
    admins: frozenset[str] = frozenset()
    proxies: int = 0
    allow_delete: bool = False
    """Whether callers may delete jobs and blobs."""
    quotas: Quotas | None = None
    """The limits of users; None: no limits."""
    clock: Clock = system_clock
    decisions: Decisions = field(default_factory=Decisions)
    throttle: Throttle = field(default_factory=Throttle)
    rates: RequestRates = field(default_factory=RequestRates)

    def admit(self, environ: Mapping[str, Any], area: Area, role: Role | None = None) -> Caller:
        """The sender of a request, who has this role.

        Raises Unauthorized, Forbidden, TooManyAttempts, LimitReached, Unavailable.
        """
        address = address_of(environ, self.proxies)
        try:
            caller = replace(self._caller(environ, area, role, address), address=address)
            if role is not None:
                caller.require(role)
        except (Unauthorized, Forbidden) as error:
            fields = {"action": "refuse", "address": address, "reason": type(error).__name__}
            logger.info("request refused", extra=fields)
            raise
        limit = None if self.quotas is None else self.quotas.limits(caller.user).requests_per_minute
        if limit is not None:
            self.rates.count(caller.user, limit)
        return caller

    def check_deletion(self) -> None:
        """Raises NoDeletion."""
        if not self.allow_delete:
            raise NoDeletion

    def _caller(self, environ: Mapping[str, Any], area: Area, role: Role | None, address: str) -> Caller:
        credential = credential_of(environ, tokens=self.tokens is not None, accounts=self.identities is not None)
        if credential is not None:
            return self.decisions.get(credential) or self._judge(credential, sender_of(address))
        nonces = self._nonces(area, role)
        given = environ.get("HTTP_X_EXECUTOR_NONCE", "")
        if nonces and (given or not self.has_users):
            error = WrongWorkerNonce if role == Role.WORKER and self.worker_nonce is not None else WrongNonce
            self._check_nonce(given, nonces, sender_of(address), error)
        elif nonces or not self.is_open:
            raise Unauthorized(self._wanted())
        return Caller(GUEST, GUEST_ROLES)

    @property
    def has_users(self) -> bool:
        """Whether callers can be other users than the guest."""
        return self.tokens is not None or self.identities is not None

    def _nonces(self, area: Area, role: Role | None) -> list[str]:
        """The nonces with which a guest may send a request; none if a guest needs no nonce, or there is none."""
        nonces: tuple[str | None, ...]
        if area != Area.JOBS:
            nonces = (self.nonce, self.worker_nonce) if not self.is_open else ()
        elif role == Role.WORKER:
            nonces = (self.worker_nonce or self.nonce,)
        elif role is None and (self.nonce is not None or not self.is_open):
            nonces = (self.nonce, self.worker_nonce)
        else:
            nonces = (self.nonce,)
        return [nonce for nonce in nonces if nonce is not None]

    def _check_nonce(self, given: str, nonces: Iterable[str], sender: str, error: type[Forbidden]) -> None:
        """Raises the error, TooManyAttempts."""
        matches = [hmac.compare_digest(given.encode("utf-8", "replace"), nonce.encode()) for nonce in nonces]
        # Only a short nonce can be guessed. A caller with a long one is not stopped by others at the same address.
        if not any(matches) or len(given) < SHORT_NONCE:
            self.throttle.check(sender)
        if not any(matches):
            if given:
                self.throttle.count(sender)
            raise error

    def _judge(self, credential: Credential, sender: str) -> Caller:
        try:
            caller, expires = self._identify(credential)
        except (Unauthorized, UnknownAccount):
            # A right credential is accepted, because others at its address, such as those behind a proxy, may fail.
            self.throttle.check(sender)
            self.throttle.count(sender)
            raise
        remaining = float("inf") if expires is None else (expires - self.clock()).total_seconds()
        self.decisions.keep(credential, caller, remaining)
        return caller

    def _identify(self, credential: Credential) -> tuple[Caller, datetime | None]:
        """Whom the credential identifies, and until when."""
        if credential.kind == Kind.TOKEN and self.tokens is not None:
            if self.admin_token is not None and hmac.compare_digest(
                credential.text.encode("utf-8", "replace"), self.admin_token.encode()
            ):
                return Caller(ADMIN, frozenset({Role.ADMIN})), None
            record = self.tokens.verify(credential.text)
            return Caller(record.user, frozenset({record.role})), record.expires
        if self.identities is None:
            raise Unauthorized
        verify = self.identities.of_id_token if credential.kind == Kind.ID_TOKEN else self.identities.of_assertion
        identity = verify(credential.text)
        if _is_listed(identity, self.admins):
            return Caller(identity.address, frozenset({Role.ADMIN})), identity.expires
        if _is_listed(identity, self.users):
            return Caller(identity.address, frozenset({Role.USER})), identity.expires
        raise UnknownAccount

    def _wanted(self) -> str:
        ways = []
        if self.tokens is not None:
            ways.append("a token in Authorization: Bearer or x-api-token")
        if self.identities is not None:
            ways.append("an ID token in Authorization: Bearer")
        if self.nonce is not None or self.worker_nonce is not None:
            ways.append("the nonce in x-executor-nonce")
        return f"This server needs a credential: send {', or '.join(ways)}."


def _is_listed(identity: Identity, accounts: frozenset[str]) -> bool:
    return identity.address in accounts or (identity.domain is not None and f"domain:{identity.domain}" in accounts)
