"""Which Host and Origin headers are accepted: a web page must not use a server of the user that visits it.

A browser lets any page send the requests that upload a zip and create its job, so a server without credentials would
run commands for each page that its user opens. The Origin header names the page. A page that resolves its own name to
the server's address (DNS rebinding) has the server's origin, but the Host header then has the page's name.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address
from socket import gethostname
from typing import Any
from urllib.parse import urlsplit

from flask import Response

from cloud_executor.errors import Forbidden

ANY = "*"

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with, and not listened on
"""Addresses to listen on that stand for every address of this machine."""

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:@/]+)(?::[0-9]*)?", re.ASCII)
_READING = ("GET", "HEAD", "OPTIONS")
_PREFLIGHT = (
    ("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS"),
    (
        "Access-Control-Allow-Headers",
        "Authorization, Content-Type, If-None-Match, If-Range, Range, X-Api-Token, X-Executor-Nonce",
    ),
    ("Access-Control-Max-Age", "86400"),
)


class ForeignHost(Forbidden):
    """The request is addressed to a host that this server does not answer for."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"This server does not answer for the host {host[:100]!r}; add its name to EXECUTOR_ALLOWED_HOSTS."
        )


class ForeignOrigin(Forbidden):
    """The request comes from a web page of another origin."""

    def __init__(self, origin: str) -> None:
        super().__init__(
            f"Web pages of {origin[:100]!r} may not use this server; add their origin to EXECUTOR_ALLOWED_ORIGINS."
        )


class OriginPolicy:
    """Decides which requests are answered, and what the pages of an origin may read.

    `hosts` are the server's names besides those of the loopback interface, and `origins` are the origins of pages that
    may use it, as in `https://webgme.example.org`; `*` allows all. A page that sends one of the server's `nonces` has
    the permission of its user.
    """

    def __init__(self, hosts: Iterable[str], origins: Iterable[str], *nonces: str | None) -> None:
        self._hosts = frozenset(host.lower().strip("[]") for host in hosts)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)
        self._nonces = tuple(nonce.encode() for nonce in nonces if nonce is not None)
        self._allows_host = lru_cache(maxsize=1000)(self._host_is_allowed)

    def check(self, environ: dict[str, Any]) -> None:
        """Raises ForeignHost and ForeignOrigin."""
        if self._has_nonce(environ):
            return
        host = environ.get("HTTP_HOST")
        if host is not None and not self._allows_host(host):
            raise ForeignHost(host)
        if environ["REQUEST_METHOD"] in _READING:
            return
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None:
            if not self._allows_origin(origin, host):
                raise ForeignOrigin(origin)
        elif environ.get("HTTP_SEC_FETCH_SITE") in ("cross-site", "same-site") and ANY not in self._origins:
            raise ForeignOrigin(environ["HTTP_SEC_FETCH_SITE"])

    def mark(self, environ: dict[str, Any], response: Response) -> Response:
        """Add the headers that tell a browser which pages may read the response."""
        headers = response.headers
        if ANY in self._origins:
            headers.add("Access-Control-Allow-Origin", ANY)
            return response
        if self._origins:
            headers.add("Vary", "Origin")
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and origin.lower() in self._origins:
            headers.add("Access-Control-Allow-Origin", origin)
            headers.add("Cross-Origin-Resource-Policy", "cross-origin")
        else:
            headers.add("Cross-Origin-Resource-Policy", "same-origin")
        return response

    def preflight(self, environ: dict[str, Any]) -> Response:
        """The response to a CORS preflight request, which allows nothing to other origins."""
        response = self.mark(environ, Response(status=204))
        if "Access-Control-Allow-Origin" in response.headers:
            response.headers.extend(_PREFLIGHT)
        return response

    def _host_is_allowed(self, header: str) -> bool:
        parsed = _HOST.fullmatch(header)
        if parsed is None:
            return False
        if ANY in self._hosts:
            return True
        name = parsed[1].strip("[]").lower().rstrip(".")
        return name in self._hosts or name == "localhost" or name.endswith(".localhost") or self._answers_for(name)

    def _answers_for(self, name: str) -> bool:
        """Whether the name is an address that this server listens on. A page cannot rebind an address."""
        everywhere = not self._hosts.isdisjoint(WILDCARDS)
        try:
            return ip_address(name).is_loopback or everywhere
        except ValueError:
            return everywhere and name == gethostname().lower()

    def _allows_origin(self, origin: str, host: str | None) -> bool:
        if ANY in self._origins or origin.lower() in self._origins:
            return True
        try:
            return host is not None and _server_name(urlsplit(origin).netloc) == _server_name(host)
        except ValueError:
            return False

    def _has_nonce(self, environ: dict[str, Any]) -> bool:
        given = environ.get("HTTP_X_EXECUTOR_NONCE", "").encode("utf-8", "replace")
        return any(hmac.compare_digest(given, nonce) for nonce in self._nonces)


def _server_name(netloc: str) -> tuple[str | None, int | None]:
    """Host and port; a proxy may change the scheme, so the default ports of both are the same."""
    parsed = urlsplit(f"//{netloc}")
    return parsed.hostname, None if parsed.port in (80, 443) else parsed.port
