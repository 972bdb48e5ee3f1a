"""Identity tokens: JWTs in which Google states who a service account or a VM is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport.requests import Request
from google.oauth2 import id_token

from cloud_executor.errors import Forbidden, Unavailable

ISSUERS = ("accounts.google.com", "https://accounts.google.com")

CERTIFICATES = "https://www.googleapis.com/oauth2/v1/certs"
"""URL of the certificates with which Google signs."""

CLOCK_SKEW_SECONDS = 10


class IdentityTokens:
    """Verifies tokens for one audience. Safe for concurrent use."""

    def __init__(self, audience: str, certificates: str = CERTIFICATES) -> None:
        self._audience = audience
        self._certificates = certificates

    def verified(self, token: str) -> Mapping[str, Any]:
        """The claims of a token that Google signed for this audience and that has not expired.

        Raises Forbidden, and Unavailable if the certificates cannot be fetched.
        """
        try:
            claims = id_token.verify_token(
                token, Request(), self._audience, self._certificates, clock_skew_in_seconds=CLOCK_SKEW_SECONDS
            )
        except TransportError as error:
            raise Unavailable("The certificates that verify identity tokens cannot be fetched; try again.") from error
        except (ValueError, TypeError, KeyError, AttributeError, GoogleAuthError) as error:
            raise Forbidden("The identity token is not valid for this service.") from error
        if claims.get("iss") not in ISSUERS:
            raise Forbidden("The identity token was not issued by Google.")
        return claims
