"""The caller's Google identity, which the front end of a private Cloud Run service requires.

The token is sent as `X-Serverless-Authorization`: the front end verifies it and leaves `Authorization` to the server.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable

from cloud_executor.errors import CloudExecutorError

HEADER = "x-serverless-authorization"

EARLY_SECONDS = 300.0
"""Time before its expiry at which a token is replaced, in seconds."""

UNKNOWN_LIFETIME_SECONDS = 600.0
"""Time after which a token is replaced whose expiry cannot be read, in seconds."""

GCLOUD_SECONDS = 60.0
"""Time limit for the command gcloud, in seconds."""


class NoGoogleIdentity(CloudExecutorError):
    """No Google identity was found: run `gcloud auth login`, or set GOOGLE_APPLICATION_CREDENTIALS to a key file."""


class GoogleIdentity:
    """Identity tokens for one server. Safe for use by threads. `fetch` returns a token for an audience."""

    def __init__(
        self, audience: str, fetch: Callable[[str], str] | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._audience = audience
        self._fetch = fetch or (lambda wanted: fetch_token(wanted))
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
        self._replace_at = 0.0

    @property
    def token(self) -> str:
        """A token that is valid for some minutes. Raises NoGoogleIdentity."""
        with self._lock:
            if self._clock() >= self._replace_at:
                self._token = self._fetch(self._audience)
                expiry = _expiry(self._token)
                now = self._clock()
                self._replace_at = now + UNKNOWN_LIFETIME_SECONDS if expiry is None else expiry - EARLY_SECONDS
            return self._token


def fetch_token(audience: str) -> str:
    """A token of google-auth's default credentials, else of the user of gcloud. Raises NoGoogleIdentity."""
    return _default_token(audience) or _gcloud_token()


def _default_token(audience: str) -> str | None:
    """A token of a service account: from a key file, or of this VM. None if there is none."""
    # Imported here because the client does not need google-auth otherwise.
    try:
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request
        from google.oauth2.id_token import fetch_id_token
    except ModuleNotFoundError:
        return None
    try:
        return str(fetch_id_token(Request(), audience))
    except (GoogleAuthError, ValueError):
        return None


def _gcloud_token() -> str:
    """Raises NoGoogleIdentity."""
    import subprocess  # most programs send no Google identity

    try:
        done = subprocess.run(
            ["gcloud", "auth", "print-identity-token"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GCLOUD_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoGoogleIdentity from error
    token = done.stdout.strip()
    if done.returncode != 0 or not token:
        raise NoGoogleIdentity
    return token


def _expiry(token: str) -> float | None:
    """The expiry that the token states; None if it cannot be read."""
    try:
        payload = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return None
