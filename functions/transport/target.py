"""What a request asks for: the segments of its path and its query, read from the address as it was sent.

The WSGI `PATH_INFO` is decoded before it is split, so `a%2Fb` and `a/b` look alike there; the protocol tells them apart
(docs/protocol.md: Paths and methods). The raw address is what gunicorn and werkzeug both give as `RAW_URI`.
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
    """The address has a bad percent escape, or is not UTF-8."""


@dataclass(frozen=True, slots=True)
class Target:
    """An address, split: `/rest/blob/view/<hash>/a%2Fb/` has six segments, the last of them empty."""

    segments: tuple[str, ...]
    """as sent, still encoded"""
    query: Mapping[str, str]
    """decoded; of a name that comes twice, the first value"""

    @classmethod
    def of(cls, environ: Mapping[str, Any]) -> Target:
        address: str = environ["RAW_URI"]
        if not address.startswith("/"):
            address = _ORIGIN.sub("", address) or "/"
        path, _, query = address.partition("?")
        return cls(tuple(path.split("/")[1:]), _parse_query(query) if query else {})

    def below(self, *prefix: str) -> tuple[str, ...] | None:
        """The segments after these, without the empty one that a slash at the end makes; None: it is not below them."""
        count = len(prefix)
        if tuple(segment.lower() for segment in self.segments[:count]) != prefix:
            return None
        rest = self.segments[count:]
        return rest[:-1] if rest and not rest[-1] else rest


def decoded(segment: str) -> str:
    """A segment's value: percent-decoded once, as UTF-8. Raises BadAddress."""
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
