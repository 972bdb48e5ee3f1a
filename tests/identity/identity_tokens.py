"""Identity tokens signed by a key of the tests, whose certificates a local server publishes."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from servers.scripted_server import response, scripted_server

CERTIFICATE_REQUESTS = 50
"""Number of requests for the certificates that the server answers."""


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Signer:
    """A key pair with which Google might sign."""

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(65537, 2048)

    @property
    def certificates(self) -> bytes:
        public = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return json.dumps({"key": public.decode()}).encode()

    def token(self, audience: str, **claims: Any) -> str:
        """A token that is valid for a day: many are created long before their tests. None leaves a claim out."""
        now = int(time.time())
        payload = {"aud": audience, "iss": "https://accounts.google.com", "iat": now, "exp": now + 86_400, **claims}
        parts = [{"alg": "RS256", "kid": "key", "typ": "JWT"}, {k: v for k, v in payload.items() if v is not None}]
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in parts)
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_encoded(signature)}"


SIGNER, STRANGER = Signer(), Signer()
"""The key whose certificates are published, and another one."""


@dataclass(frozen=True)
class Issuer:
    certificates: str
    """URL of the certificates."""


@contextmanager
def identity_issuer() -> Iterator[Issuer]:
    answer = response("200 OK", SIGNER.certificates, "Content-Type: application/json", "Connection: close")
    with scripted_server([answer] * CERTIFICATE_REQUESTS) as server:
        yield Issuer(server.url)
