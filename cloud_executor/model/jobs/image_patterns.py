"""Patterns of container images that a job may choose."""

from __future__ import annotations

import re
from functools import lru_cache

_WILDCARD = re.compile(r"\*\*|\*|\?")
_TRANSLATED = {"**": "[^:@]*", "*": "[^/:@]*", "?": "[^/:@]"}
_ANY_VERSION = "(:[^/:@]+)?(@.+)?"


def image_matches(image: str, pattern: str) -> bool:
    """Whether a pattern allows an image.

    `*` and `?` stand for characters within a part of the name: they match neither `/`, `:`, nor `@`. `**` also matches
    `/`. A pattern without a tag or a digest allows all of them. A registry matches only a pattern that names one, so
    no pattern allows the same path on another registry.
    """
    return _has_registry(image) == _has_registry(pattern) and _compiled(pattern).fullmatch(image) is not None


def _has_registry(name: str) -> bool:
    """As in Docker: the first part of a name is a registry if it has a dot or a port, or is localhost."""
    first, slash, _ = name.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")


@lru_cache(maxsize=1000)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts, end = [], 0
    registry = pattern.find("/") if _has_registry(pattern) else 0
    for found in _WILDCARD.finditer(pattern):
        # A registry ends at the first slash, whatever wildcard it has.
        wildcard = "*" if found[0] == "**" and found.start() < registry else found[0]
        parts += [re.escape(pattern[end : found.start()]), _TRANSLATED[wildcard]]
        end = found.end()
    parts.append(re.escape(pattern[end:]))
    last = pattern[registry:].rpartition("/")[2]
    return re.compile("".join(parts) + ("" if ":" in last or "@" in last else _ANY_VERSION))
