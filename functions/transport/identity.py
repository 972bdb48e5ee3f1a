"""The identity token of a request."""

from __future__ import annotations

from flask import Request

from cloud_executor.errors import Forbidden


def bearer_token(request: Request) -> str:
    """The token of the Authorization header. Raises Forbidden."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Forbidden("The request needs an identity token: Authorization: Bearer TOKEN.")
    return token.strip()
