"""ID tokens and assertions signed with a test's own keys, and a request that serves the keys' certificates."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from google.auth import crypt, jwt, transport
from google.auth.crypt import es256

from cloud_executor.backends.google.accounts import IAP_CERTIFICATES, ID_TOKEN_CERTIFICATES

AUDIENCE = "https://jobs.example.org"
IAP_AUDIENCE = "/projects/1/global/backendServices/2"

PRIVATE_FORM = (
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
)


@dataclass
class Provider:
    """A stand-in for Google: signs statements, and serves its certificates like `google.auth.transport.Request`."""

    key_id: str = "first"
    rsa_key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    ec_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    status: int = 200
    fetched: list[str] = field(default_factory=list)

    def id_token(self, **changes: object) -> str:
        claims = {"iss": "https://accounts.google.com", "aud": AUDIENCE, "email_verified": True}
        signer = crypt.RSASigner.from_string(self.rsa_key.private_bytes(*PRIVATE_FORM), self.key_id)
        return _signed(signer, claims | changes)

    def assertion(self, **changes: object) -> str:
        claims = {"iss": "https://cloud.google.com/iap", "aud": IAP_AUDIENCE}
        signer = es256.ES256Signer.from_string(self.ec_key.private_bytes(*PRIVATE_FORM), self.key_id)
        return _signed(signer, claims | changes)

    def request(self) -> transport.Request:
        return _Request(self)

    def certificates(self, url: str) -> Mapping[str, str]:
        if url == IAP_CERTIFICATES:
            public = self.ec_key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            return {self.key_id: public.decode()}
        assert url == ID_TOKEN_CERTIFICATES
        return {self.key_id: _certificate(self.rsa_key)}


class _Request(transport.Request):
    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def __call__(self, url: str, *_: object, **__: object) -> Any:
        self._provider.fetched.append(url)
        return _Response(self._provider.status, json.dumps(self._provider.certificates(url)).encode())


@dataclass
class _Response:
    status: int
    data: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"Cache-Control": "public, max-age=600"})


def _signed(signer: Any, claims: Mapping[str, object]) -> str:
    now = int(time.time())
    times = {"iat": now - 5, "exp": now + 600, "email": "Ada@Example.org", "sub": "1"}
    return jwt.encode(signer, {name: value for name, value in (times | claims).items() if value is not None}).decode()


def _certificate(key: rsa.RSAPrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
