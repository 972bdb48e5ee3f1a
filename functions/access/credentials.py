"""The credentials and the sender's address of a request."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

from cloud_executor.model.access.token import PREFIX

IPV6_PREFIX = 64
"""Length of the part of an IPv6 address that one sender has, in bits."""


class Kind(StrEnum):
    TOKEN = "token"  # noqa: S105 - a name
    ID_TOKEN = "id_token"  # noqa: S105 - a name
    ASSERTION = "assertion"
    """Of a proxy that has signed in the user."""


class Credential(NamedTuple):
    kind: Kind
    text: str


def credential_of(environ: Mapping[str, Any], *, tokens: bool, accounts: bool) -> Credential | None:
    """The first credential of a kind that the server can judge. All others are ignored: WebGME's clients send some."""
    candidates = [environ.get("HTTP_X_API_TOKEN", ""), *_authorizations(environ.get("HTTP_AUTHORIZATION", ""))]
    for text in candidates:
        if tokens and text.startswith(PREFIX):
            return Credential(Kind.TOKEN, text)
    if accounts:
        if candidates[1:] and candidates[1].count(".") == 2:
            return Credential(Kind.ID_TOKEN, candidates[1])
        assertion = environ.get("HTTP_X_GOOG_IAP_JWT_ASSERTION")
        if assertion:
            return Credential(Kind.ASSERTION, assertion)
    return None


def _authorizations(header: str) -> list[str]:
    """The value of a Bearer header, or the password of a Basic one, with any user name."""
    scheme, _, value = header.partition(" ")
    match scheme.lower():
        case "bearer":
            return [value.strip()]
        case "basic":
            try:
                return [base64.b64decode(value.strip(), validate=True).decode("latin-1").partition(":")[2]]
            except (binascii.Error, ValueError):
                return []
    return []


def address_of(environ: Mapping[str, Any], proxies: int) -> str:
    """The sender's IP address, as the outermost of the given number of proxies reported it."""
    if proxies:
        hops = [hop.strip() for hop in str(environ.get("HTTP_X_FORWARDED_FOR", "")).split(",")]
        if len(hops) >= proxies and hops[-proxies]:
            return hops[-proxies][:100]
    return str(environ.get("REMOTE_ADDR", ""))


def sender_of(address: str) -> str:
    """What stands for one sender: an IPv4 address, or the network of an IPv6 address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return address if parsed.version == 4 else str(ip_network((parsed, IPV6_PREFIX), strict=False))
