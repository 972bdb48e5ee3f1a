"""The forms of the values of settings. For other strings, each raises ValueError, KeyError, or OverflowError."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

OPEN, TOKEN, GOOGLE = "open", "token", "google"
"""Methods of authentication (EXECUTOR_AUTH)."""


def path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def milliseconds(text: str) -> timedelta:
    value = timedelta(milliseconds=int(text))
    if value <= timedelta():
        raise ValueError
    return value


def milliseconds_or_never(text: str) -> timedelta | None:
    return None if text == "-1" else milliseconds(text)


def seconds(text: str) -> timedelta:
    return milliseconds(str(int(text) * 1000))


def days(text: str) -> timedelta:
    return timedelta(days=at_least_one(text))


def count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError
    return value


def at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def one_of(*names: str) -> Callable[[str], str]:
    return {name: name for name in names}.__getitem__


def topic_prefix(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9.-]{2,199}", text) or text.startswith("goog"):
        raise ValueError
    return text


def switch(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]


def names(text: str) -> frozenset[str]:
    return frozenset(name for name in (part.strip() for part in text.split(",")) if name)


def some_of(*choices: str) -> Callable[[str], frozenset[str]]:
    def parse(text: str) -> frozenset[str]:
        found = names(text)
        if not found or not found.issubset(choices):
            raise ValueError
        return found

    return parse


def yes_or_no(text: str) -> bool:
    return {"yes": True, "no": False}[text.lower()]


def accounts(text: str) -> frozenset[str]:
    accounts = frozenset(name.lower() for name in names(text))
    if not all(re.fullmatch(r"domain:[^@\s]+|[^@\s:]+@[^@\s]+", account) for account in accounts):
        raise ValueError
    return accounts


def origins(text: str) -> frozenset[str]:
    origins = names(text)
    if not all(origin == "*" or re.fullmatch(r"https?://[^/?#@\s]+/?", origin) for origin in origins):
        raise ValueError
    return origins


def url(text: str) -> str:
    if not re.fullmatch(r"https?://[^/?#@\s]+[^?#\s]*", text):
        raise ValueError
    return text
