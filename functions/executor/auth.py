"""Authentication of the executor API by a shared secret (docs/protocol.md: Caller identity)."""

from __future__ import annotations

import hmac

from flask import Request

from cloud_executor.errors import Forbidden


class WrongNonce(Forbidden):
    """The header x-executor-nonce is missing or wrong; set it to the server's nonce."""


def check_nonce(request: Request, nonce: str | None) -> None:
    """Raises WrongNonce if the server has a secret and the request does not carry it."""
    if nonce is None:
        return
    given = request.headers.get("x-executor-nonce", "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), nonce.encode()):
        raise WrongNonce
