"""The target of a request: its path segments and its query, read from the URL as it was sent.

WSGI's `PATH_INFO` is decoded before it is split, so `a%2Fb` and `a/b` look alike there; the protocol distinguishes them
(docs/protocol.md: Paths and methods). Both gunicorn and werkzeug provide the raw URL as `RAW_URI`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from cloud_executor.errors import Invalid

_BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
_ORIGIN = re.compile("https?://[^/?]*", re.IGNORECASE)


class BadAddress(Invalid):
    """The URL has an invalid percent escape or is not UTF-8; encode it as RFC 3986 requires."""


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed URL: `/rest/blob/view/<hash>/a%2Fb/` has six segments, the last of which is empty."""

    segments: tuple[str, ...]
    """Path segments as sent, still percent-encoded."""
    query: Mapping[str, str]
    """Decoded query parameters; the first value of a repeated name."""
    raw_query: str = ""
    """The query as sent."""

    @classmethod
    def of(cls, environ: Mapping[str, Any]) -> Target:
        url: str = environ["RAW_URI"]
        if not url.startswith("/"):
            url = _ORIGIN.sub("", url) or "/"
        path, _, query = url.partition("?")
        return cls(tuple(path.split("/")[1:]), _parse_query(query) if query else {}, query)

    def parameters(self) -> list[tuple[str, str]]:
        """All decoded query parameters, with repeated names."""
        return parse_qsl(self.raw_query, keep_blank_values=True)

    def below(self, *prefix: str) -> tuple[str, ...] | None:
        """The segments after this prefix, without the empty one that a trailing slash adds; None without the prefix."""
        count = len(prefix)
        if tuple(segment.lower() for segment in self.segments[:count]) != prefix:
            return None
        rest = self.segments[count:]
        return rest[:-1] if rest and not rest[-1] else rest


def decoded(segment: str) -> str:
    """The value of a segment: percent-decoded once, as UTF-8. Raises BadAddress."""
    if "%" not in segment and segment.isascii():
        return segment
    if _BAD_ESCAPE.search(segment):
        raise BadAddress
    try:
        return unquote_to_bytes(segment.encode("latin-1")).decode()
    except UnicodeError:
        raise BadAddress from None


def _parse_query(query: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        found.setdefault(name, value)
    return found
