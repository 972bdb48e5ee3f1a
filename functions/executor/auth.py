"""Authentication of the executor API by shared secrets (docs/protocol.md: Caller identity)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from flask import Request

from cloud_executor.errors import Forbidden

_FOR_WORKERS = (("POST", "worker"), ("POST", "update"), ("POST", "output"))
"""Method and first segment of the requests that only workers send."""

_FOR_BOTH = (("GET", "info"), ("HEAD", "info"))
"""Requests that clients and workers send: a worker reads the jobs that it is given."""


class WrongNonce(Forbidden):
    """The header x-executor-nonce is missing or wrong; set it to the server's nonce."""


class WrongWorkerNonce(Forbidden):
    """The header x-executor-nonce is missing or wrong; a worker must set it to the server's nonce for workers."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The secrets that requests must carry; None: none is required."""

    nonce: str | None = field(default=None, repr=False)
    worker_nonce: str | None = field(default=None, repr=False)
    """Secret of the requests that only workers send; None: they carry `nonce` as well."""

    def check(self, request: Request, rest: tuple[str, ...]) -> None:
        """`rest` is the path below the API's. Raises WrongNonce, WrongWorkerNonce."""
        given = request.headers.get("x-executor-nonce", "")
        kind = (request.method, rest[0] if rest else "")
        if self.worker_nonce is not None and kind in _FOR_WORKERS:
            if not _equal(given, self.worker_nonce):
                raise WrongWorkerNonce
            return
        if self.worker_nonce is not None and kind in _FOR_BOTH and _equal(given, self.worker_nonce):
            return
        if self.nonce is not None and not _equal(given, self.nonce):
            raise WrongNonce


def _equal(given: str, nonce: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), nonce.encode())
