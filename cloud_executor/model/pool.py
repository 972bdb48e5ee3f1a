"""Worker pools: groups of our own workers that take jobs from one queue."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

from cloud_executor.errors import Invalid
from cloud_executor.model.executor_config import ExecutorConfig

NETWORKS = ("none", "bridge")

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?")
DEAD_LETTER = "dead-letter"
"""the name that the queue has for messages that were delivered too often, beside those of the pools"""


@dataclass(frozen=True, slots=True)
class WorkerPool:
    """Workers that are alike, and what they give one job."""

    name: str
    labels: frozenset[str] = frozenset()
    """what its workers offer"""
    slots: int | None = None
    """jobs that one worker runs at once; None: as many as its machine has processors"""
    image: str | None = None
    """what the containers of jobs are made of"""
    images: tuple[str, ...] = ()
    """patterns of the images that a job may choose instead; `*` is any text"""
    network: str = "none"
    """of the containers: `none` or `bridge`"""
    cpus: float = 1.0
    memory_mib: int = 2048
    processes: int = 1024
    disk_mib: int = 10240
    gpus: int = 0
    """of a worker's machine: the container of each job gets them all, so slots share them"""
    timeout: timedelta | None = None
    """how long the command of a job runs that does not say; None: as long as it may"""
    max_timeout: timedelta | None = None
    """how long any may run; None: for ever"""
    idle: timedelta | None = None
    """how long a worker without jobs stays, where it can remove its own machine; None: for ever"""
    min_workers: int = 0
    """machines that stay, however idle"""

    def timeout_of(self, config: ExecutorConfig) -> timedelta | None:
        """How long the command may run; None: for ever."""
        return config.timeout or self.timeout or self.max_timeout

    def refusal(self, config: ExecutorConfig) -> str | None:
        """Why its workers cannot run the job, in a sentence that names the field; None: they can."""
        if config.cpus is not None and config.cpus > self.cpus:
            return self._too_much("resources.cpus", f"{config.cpus:.12g}", f"{self.cpus:.12g}")
        if config.memory_mib is not None and config.memory_mib > self.memory_mib:
            return self._too_much("resources.memoryMiB", config.memory_mib, self.memory_mib)
        if config.timeout is not None and self.max_timeout is not None and config.timeout > self.max_timeout:
            wanted, most = (f"{time.total_seconds():.12g} seconds" for time in (config.timeout, self.max_timeout))
            return self._too_much("timeout", wanted, most)
        if config.image is None or config.image == self.image:
            return None
        if not any(fnmatchcase(config.image, pattern) for pattern in self.images):
            return f"image in executor_config.json is none that a job may choose in the worker pool {self.name}."
        return None

    def _too_much(self, field: str, wanted: object, most: object) -> str:
        return (
            f"{field} in executor_config.json is {wanted}, and the worker pool {self.name} gives a job {most} at most."
        )


def pools_with(labels: Iterable[str], pools: Iterable[WorkerPool]) -> tuple[str, ...]:
    """The names of the pools that have all these labels; empty: only an external worker can take the job."""
    wanted = frozenset(labels)
    return tuple(pool.name for pool in pools if wanted <= pool.labels)


def parse_pools(text: str, defaults: WorkerPool) -> tuple[WorkerPool, ...]:
    """The pools of a JSON list, in order of preference.

    What an entry leaves out, or sets to null, is that of `defaults`. Raises Invalid with the rest of a sentence that
    begins with the name of the list; it names the entry and the field, such as `[1].slots`.
    """
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        raise Invalid(" must be a JSON list of pools.") from None
    if not isinstance(entries, list) or not entries:
        raise Invalid(" must be a JSON list with at least one pool.")
    pools = tuple(_parse_pool(f"[{place}]", entry, defaults) for place, entry in enumerate(entries))
    for place, pool in enumerate(pools):
        if pool.name in {other.name for other in pools[:place]}:
            raise Invalid(f"[{place}].name must be another than {pool.name}, which a pool before it has.")
    return pools


def _parse_pool(place: str, entry: object, defaults: WorkerPool) -> WorkerPool:
    if not isinstance(entry, dict):
        raise Invalid(f"{place} must be an object.")
    unknown = sorted(entry.keys() - _FIELDS.keys())
    if unknown:
        raise Invalid(f"{place}.{unknown[0]} is no field of a pool; the fields are {', '.join(_FIELDS)}.")
    if entry.get("name") is None:
        raise Invalid(f"{place}.name is missing.")
    pool = replace(defaults, **dict(_parsed(place, entry)))
    if pool.timeout is not None and pool.max_timeout is not None and pool.timeout > pool.max_timeout:
        raise Invalid(f"{place}.timeout must not be more than maxTimeout.")
    return pool


def _parsed(place: str, entry: Mapping[str, object]) -> Iterable[tuple[str, Any]]:
    for name, (field, parse, form) in _FIELDS.items():
        value = entry.get(name)
        if value is None:
            continue
        try:
            yield field, parse(value)
        except (ValueError, OverflowError):
            raise Invalid(f"{place}.{name} must be {form}.") from None


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value) or value == DEAD_LETTER:
        raise ValueError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _texts(value: object) -> Collection[str]:
    if not isinstance(value, list):
        raise ValueError
    return [_text(element) for element in value]


def _network(value: object) -> str:
    if value not in NETWORKS:
        raise ValueError
    return str(value)


def _count(value: object, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError
    return float(value)


def _duration(value: object, unit: timedelta) -> timedelta:
    found = _number(value) * unit
    if not found:
        raise ValueError
    return found


_COUNT = "a whole number above 0"

_FIELDS: dict[str, tuple[str, Callable[[object], object], str]] = {
    "name": (
        "name",
        _name,
        f"1 to 20 lower-case letters, digits and hyphens that begin with a letter, and not {DEAD_LETTER}",
    ),
    "labels": ("labels", lambda value: frozenset(_texts(value)), "a list of texts"),
    "slots": ("slots", _count, _COUNT),
    "image": ("image", _text, "an image's name"),
    "images": ("images", lambda value: tuple(_texts(value)), "a list of patterns"),
    "network": ("network", _network, "none or bridge"),
    "cpus": ("cpus", _number, "a number above 0"),
    "memoryMiB": ("memory_mib", _count, _COUNT),
    "processes": ("processes", _count, _COUNT),
    "diskMiB": ("disk_mib", _count, _COUNT),
    "gpus": ("gpus", _count, _COUNT),
    "timeout": ("timeout", lambda value: _duration(value, timedelta(seconds=1)), "seconds above 0"),
    "maxTimeout": ("max_timeout", lambda value: _duration(value, timedelta(seconds=1)), "seconds above 0"),
    "minWorkers": ("min_workers", lambda value: _count(value, 0), "a whole number, or 0"),
    "idleMinutes": ("idle", lambda value: _duration(value, timedelta(minutes=1)), "minutes above 0"),
}
"""name in the JSON -> field of a pool, how it is read, and what it must be"""
