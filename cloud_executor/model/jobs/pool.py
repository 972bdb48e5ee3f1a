"""Worker pools: groups of this project's own workers, each with a queue of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from cloud_executor.errors import Invalid
from cloud_executor.model.documents.environment import environment
from cloud_executor.model.documents.javascript import parse_json
from cloud_executor.model.documents.json_fields import (
    MAX_TIMER,
    JsonFields,
    Reader,
    boolean,
    duration,
    json_object,
    nonempty_string,
    positive_number,
    strings,
    whole_number,
)
from cloud_executor.model.jobs.image_patterns import image_matches

if TYPE_CHECKING:  # importing it loads all of `patterns`, which only workers need
    from cloud_executor.model.documents.executor_config import ExecutorConfig

NETWORKS = ("none", "bridge")

DEAD_LETTER = "dead-letter"
"""Name of the queue for messages that were delivered too often; no pool can have it."""

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class WorkerPool:
    """Settings that the workers of a pool share, and what they give each job."""

    name: str
    labels: frozenset[str] = frozenset()
    """Labels that the workers have."""
    slots: int | None = None
    """Number of jobs that a worker runs at a time; None: one per processor of its machine."""
    image: str | None = None
    """Image of the jobs' containers."""
    images: tuple[str, ...] = ()
    """Patterns of other images that a job may choose (`image_matches`)."""
    network: str = "none"
    """Network of the containers: `none` or `bridge`."""
    runtime: str | None = None
    """The engine's runtime for the containers, such as gVisor's `runsc`; None: the engine's default."""
    cpus: float = 1.0
    memory_mib: int = 2048
    processes: int = 1024
    disk_mib: int = 10240
    env: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    """Variables that each command gets, unless its job sets them."""
    gpus: int = 0
    """Number of GPUs of a worker's machine; each job's container gets all of them, so slots share them."""
    timeout: timedelta | None = None
    """Time limit of a command whose job sets none; None: `max_timeout`."""
    max_timeout: timedelta | None = None
    """Longest time limit that a job can set; None: no maximum."""
    max_retries: int | None = None
    """Largest number of retries that a job can set; None: no maximum."""
    idle: timedelta | None = None
    """Idle time after which a worker removes its machine, where it can; None: never."""
    min_workers: int = 0
    """Number of machines that are kept even when idle."""
    external_workers: bool = False
    """Whether external workers may run the jobs of the pool too."""

    def timeout_of(self, config: ExecutorConfig) -> timedelta | None:
        """Time limit of the job's command; None: unlimited."""
        return config.timeout or self.timeout or self.max_timeout

    def refusal(self, config: ExecutorConfig) -> str | None:
        """Why the workers cannot run the job, in a sentence that names the field; None if they can."""
        if config.cpus is not None and config.cpus > self.cpus:
            return self._too_much("resources.cpus", f"{config.cpus:.12g}", f"{self.cpus:.12g}")
        if config.memory_mib is not None and config.memory_mib > self.memory_mib:
            return self._too_much("resources.memoryMiB", config.memory_mib, self.memory_mib)
        if config.timeout is not None and self.max_timeout is not None and config.timeout > self.max_timeout:
            requested, most = (f"{time.total_seconds():.12g} seconds" for time in (config.timeout, self.max_timeout))
            return self._too_much("timeout", requested, most)
        if config.retries is not None and self.max_retries is not None and config.retries > self.max_retries:
            return self._too_much("retries", config.retries, self.max_retries)
        if config.image is None or config.image == self.image:
            return None
        if not any(image_matches(config.image, pattern) for pattern in self.images):
            return f"executor_config.json: the worker pool {self.name} does not allow the image {config.image}."
        return None

    def _too_much(self, field: str, requested: object, most: object) -> str:
        return f"executor_config.json: {field} is {requested}, but the worker pool {self.name} allows at most {most}."


def pools_with(labels: Iterable[str], pools: Iterable[WorkerPool]) -> tuple[str, ...]:
    """The names of the pools that have all the labels. Without one, only an external worker can take the job."""
    wanted = frozenset(labels)
    return tuple(pool.name for pool in pools if wanted <= pool.labels)


def parse_pools(path: str, text: str, defaults: WorkerPool) -> tuple[WorkerPool, ...]:
    """The pools of a JSON list, in order of preference. Fields that are absent or null have the values of `defaults`.

    Raises Invalid with a sentence that begins with `path`, the name of the list.
    """
    try:
        entries = parse_json(text)
    except Invalid as error:
        raise Invalid(f"{path}: {error}") from None
    if not isinstance(entries, list) or not entries:
        raise Invalid(f"{path} must be a JSON list with at least one pool.")
    pools: list[WorkerPool] = []
    for index, entry in enumerate(entries):
        pool = _parse_pool(f"{path}[{index}]", entry, defaults)
        if pool.name in {other.name for other in pools}:
            raise Invalid(f"{path}[{index}].name must be unique, but an earlier pool is also named {pool.name}.")
        pools.append(pool)
    return tuple(pools)


def _parse_pool(path: str, entry: object, defaults: WorkerPool) -> WorkerPool:
    fields = JsonFields(json_object(path, entry), path)
    fields.reject_unknown(_FIELDS)
    given: dict[str, Any] = {"name": fields.required("name", _name)}
    for name, (attribute, read) in _FIELDS.items():
        value = fields.optional(name, read)
        if value is not None:
            given[attribute] = value
    if "env" in given:
        given["env"] = {**defaults.env, **given["env"]}
    pool = replace(defaults, **given)
    if pool.timeout is not None and pool.max_timeout is not None and pool.timeout > pool.max_timeout:
        raise Invalid(f"{path}.timeout must not be more than maxTimeout.")
    return pool


def _name(path: str, value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value) or value == DEAD_LETTER:
        raise Invalid(
            f"{path} must be 1 to 20 lowercase letters, digits, and hyphens, begin with a letter, "
            f"not end with a hyphen, and not be {DEAD_LETTER}."
        )
    return value


def _nonempty_strings(path: str, value: object) -> tuple[str, ...]:
    return tuple(nonempty_string(f"{path}[{index}]", text) for index, text in enumerate(strings(path, value)))


def _network(path: str, value: object) -> str:
    if value not in NETWORKS:
        raise Invalid(f"{path} must be {' or '.join(NETWORKS)}.")
    return str(value)


_count = partial(whole_number, least=1, most=MAX_TIMER)
_seconds = partial(duration, unit=timedelta(seconds=1))

_FIELDS: dict[str, tuple[str, Reader[object]]] = {
    "name": ("name", _name),
    "labels": ("labels", lambda path, value: frozenset(_nonempty_strings(path, value))),
    "slots": ("slots", _count),
    "image": ("image", nonempty_string),
    "images": ("images", _nonempty_strings),
    "network": ("network", _network),
    "runtime": ("runtime", nonempty_string),
    "cpus": ("cpus", positive_number),
    "memoryMiB": ("memory_mib", _count),
    "processes": ("processes", _count),
    "diskMiB": ("disk_mib", _count),
    "env": ("env", environment),
    "gpus": ("gpus", _count),
    "timeout": ("timeout", _seconds),
    "maxTimeout": ("max_timeout", _seconds),
    "maxRetries": ("max_retries", partial(whole_number, least=0, most=MAX_TIMER)),
    "externalWorkers": ("external_workers", boolean),
    "minWorkers": ("min_workers", partial(whole_number, least=0, most=MAX_TIMER)),
    "idleMinutes": ("idle", partial(duration, unit=timedelta(minutes=1))),
}
"""Name in the JSON -> attribute of `WorkerPool`, and its reader."""
