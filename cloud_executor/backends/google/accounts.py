"""Verify Google's signed statements about accounts: ID tokens, and assertions of Identity-Aware Proxy (IAP)."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from google.auth import exceptions, transport
from google.auth.transport.requests import Request
from google.oauth2 import id_token

from cloud_executor.errors import Unauthorized, Unavailable
from cloud_executor.ports import Identity

ID_TOKEN_CERTIFICATES = "https://www.googleapis.com/oauth2/v1/certs"  # noqa: S105 - a public address
IAP_CERTIFICATES = "https://www.gstatic.com/iap/verify/public_key"

ID_TOKEN_ISSUERS = ("https://accounts.google.com", "accounts.google.com")
IAP_ISSUERS = ("https://cloud.google.com/iap",)

CLOCK_SKEW_SECONDS = 10

CERTIFICATES_SECONDS = 3600.0
"""Longest time for which certificates are kept, in seconds. Google announces new ones earlier than that."""

RENEWAL_SECONDS = 60.0
"""Shortest time between two requests for the same certificates, in seconds."""

CALL_SECONDS = 10.0
"""Timeout of a request for certificates, in seconds."""

_SIGNATURE_REMOVED = ".SIGNATURE_REMOVED_BY_GOOGLE"
_MAX_AGE = re.compile(r"\bmax-age=([0-9]{1,6})\b")
_SERVICE_ACCOUNTS = ".gserviceaccount.com"


class InvalidIdentity(Unauthorized):
    """The ID token is not valid for this server: get a new one with an audience in EXECUTOR_GOOGLE_AUDIENCES."""


class StrippedToken(Unauthorized):
    """Cloud Run has removed the signature of the ID token; also send the token in X-Serverless-Authorization."""


class GoogleIdentities:
    """Identities that Google vouches for, to one of the `audiences`. Safe for use by threads."""

    def __init__(self, audiences: Collection[str], request: transport.Request | None = None) -> None:
        """`request` fetches certificates; by default over the network."""
        self._audiences = sorted(audiences)
        self._request = _CachedRequest(request or Request())

    def of_id_token(self, token: str) -> Identity:
        if token.endswith(_SIGNATURE_REMOVED):
            raise StrippedToken
        return self._verify(token, ID_TOKEN_CERTIFICATES, ID_TOKEN_ISSUERS)

    def of_assertion(self, assertion: str) -> Identity:
        return self._verify(assertion, IAP_CERTIFICATES, IAP_ISSUERS)

    def _verify(self, token: str, certificates: str, issuers: Collection[str]) -> Identity:
        try:
            claims = self._claims(token, certificates)
        except exceptions.TransportError as error:
            raise Unavailable("Google's certificates cannot be fetched; try again.") from error
        except (exceptions.GoogleAuthError, ValueError, TypeError) as error:
            raise InvalidIdentity from error
        address = claims.get("email")
        # IAP has verified the addresses of its assertions, which do not say so.
        verified = certificates == IAP_CERTIFICATES or claims.get("email_verified") is True
        if claims.get("iss") not in issuers or not isinstance(address, str) or not verified:
            raise InvalidIdentity
        return Identity(address.lower(), _domain(address, claims), datetime.fromtimestamp(claims["exp"], UTC))

    def _claims(self, token: str, certificates: str) -> Mapping[str, Any]:
        def verify() -> Mapping[str, Any]:
            return id_token.verify_token(
                token,
                self._request,
                audience=self._audiences,
                certs_url=certificates,
                clock_skew_in_seconds=CLOCK_SKEW_SECONDS,
            )

        started = time.monotonic()
        try:
            return verify()
        except (exceptions.MalformedError, ValueError):
            # The token may be signed with a key that is newer than the kept certificates.
            if not self._request.renew(certificates, started):
                raise
            return verify()


def _domain(address: str, claims: Mapping[str, Any]) -> str | None:
    """The domain that manages the account: a private account can have an address of any domain."""
    managed = claims.get("hd")
    if isinstance(managed, str):
        return managed.lower()
    domain = address.lower().rpartition("@")[2]
    return domain if domain.endswith(_SERVICE_ACCOUNTS) else None


class _CachedRequest(transport.Request):
    """Fetches certificates, and keeps them as long as their server says.

    One thread at a time fetches a URL. Meanwhile, others use the kept certificates while those are valid.
    """

    def __init__(self, request: transport.Request) -> None:
        self._request = request
        self._fetching = {url: threading.Lock() for url in (ID_TOKEN_CERTIFICATES, IAP_CERTIFICATES)}
        self._kept: dict[str, tuple[Any, float, float]] = {}
        """Response, time when it came, and time until which it is valid, by URL."""

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: Any = None,  # noqa: ANN401 - the library's interface
        headers: Any = None,  # noqa: ANN401 - as above
        timeout: Any = CALL_SECONDS,  # noqa: ANN401 - as above
        **options: Any,  # noqa: ANN401 - as above
    ) -> Any:  # noqa: ANN401 - as above
        response = self._valid(url)
        if response is None:
            with self._fetching[url]:
                response = self._valid(url)  # another thread may have fetched it
                if response is None:
                    response = self._fetch(url, method, body, headers, timeout, **options)
        return response

    def renew(self, url: str, since: float) -> bool:
        """Fetch certificates again, unless they were fetched recently. Returns whether they were fetched `since`.

        Raises TransportError.
        """
        with self._fetching[url]:
            _, fetched, _ = self._kept.get(url, (None, float("-inf"), 0.0))
            if fetched < since and time.monotonic() - fetched >= RENEWAL_SECONDS:
                if self._fetch(url, "GET", timeout=CALL_SECONDS).status != 200:
                    raise exceptions.TransportError
                return True
            return fetched >= since

    def _valid(self, url: str) -> Any:  # noqa: ANN401 - the library's interface
        response, _, valid_until = self._kept.get(url, (None, 0.0, 0.0))
        return response if time.monotonic() < valid_until else None

    def _fetch(self, url: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - the library's interface
        now = time.monotonic()
        response = self._request(url, *arguments, **options)
        if response.status == 200:
            age = _MAX_AGE.search(response.headers.get("Cache-Control", ""))
            seconds = CERTIFICATES_SECONDS if age is None else min(float(age[1]), CERTIFICATES_SECONDS)
            self._kept[url] = response, time.monotonic(), now + seconds
        return response
