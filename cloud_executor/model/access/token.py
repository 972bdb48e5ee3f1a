"""Access tokens: `cex_`, 256 random bits in base62, and a checksum, as in GitHub's tokens.

Scanners recognize a leaked token by its prefix, and the checksum reveals a typing error without a look-up. A store has
only a hash of each token.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import zlib
from datetime import datetime

import msgspec

from cloud_executor.errors import Invalid
from cloud_executor.model.access.caller import Role

PREFIX = "cex_"

SECRET_BYTES = 32
"""Number of random bytes in a token."""

MAX_NAME = 100
"""Maximum length of a token's name, in characters."""

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_DIGITS, _CHECKSUM_DIGITS = 43, 6
_ID_DIGITS = 16

_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._%+@-]{0,199}", re.ASCII)


class TokenRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What is stored of a token."""

    id: str
    """The beginning of the digest, by which a token is looked up, listed, and revoked."""
    digest: str
    """Hash of the token (`digest_of`)."""
    name: str
    user: str
    role: Role
    created: datetime
    expires: datetime | None = None
    """Time from which the token is rejected; None: never."""
    created_by: str = ""
    """User that created the token."""

    def document(self) -> dict[str, object]:
        """The token as the API shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "user": self.user,
            "role": self.role,
            "created": self.created,
            "expires": self.expires,
            "createdBy": self.created_by,
        }


def token_of(secret: bytes) -> str:
    """The token with these SECRET_BYTES random bytes."""
    body = _base62(int.from_bytes(secret, "big"), _SECRET_DIGITS)
    return f"{PREFIX}{body}{_checksum(body)}"


def is_well_formed(token: str) -> bool:
    """Whether the token can exist: a mistyped one cannot."""
    body, checksum = token[len(PREFIX) : -_CHECKSUM_DIGITS], token[-_CHECKSUM_DIGITS:]
    if not token.startswith(PREFIX) or len(body) != _SECRET_DIGITS or not set(token[len(PREFIX) :]).issubset(_DIGITS):
        return False
    return hmac.compare_digest(_checksum(body), checksum)


def digest_of(token: str, pepper: str) -> str:
    """What is stored of a token. Without the pepper, a copy of the store shows nothing about a token."""
    return hmac.new(pepper.encode(), token.encode(), hashlib.sha256).hexdigest()


def id_of(digest: str) -> str:
    """The id of the token with this digest."""
    return digest[:_ID_DIGITS]


def token_name(path: str, value: str) -> str:
    """Raises Invalid."""
    if not 0 < len(value) <= MAX_NAME or not value.isprintable():
        raise Invalid(f"{path} must have 1 to {MAX_NAME} printable characters.")
    return value


def user_name(path: str, value: str) -> str:
    """The name of a user. Raises Invalid."""
    if not _USER.fullmatch(value):
        raise Invalid(
            f"{path} must have up to 200 letters, digits, or characters of ._%+@- and start with a letter or digit."
        )
    return value


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECKSUM_DIGITS)
