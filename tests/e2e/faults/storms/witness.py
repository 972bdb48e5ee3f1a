"""Witnesses: independent of the workers, they know how often a job's command ran and whether anything of it is left."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import docker
from containers.docker_engine import IMAGE
from stack_process import WAIT_SECONDS, processes_of, until

REPOSITORY = "storm"
"""Repository of the jobs' images. Each job has its own tag, so the engine's events show which job a container ran."""

IMAGE_CHANGES = ["VOLUME /data"]
"""Changes to the image that give each container a volume, which must be removed together with the container."""


class Witness(Protocol):
    """Observes the commands of one round."""

    settings: Mapping[str, str]
    """Settings that the workers need."""

    def job_fields(self, number: int) -> Mapping[str, object]:
        """Fields that the config of a job needs."""

    def runs(self, number: int) -> int:
        """Number of times that a job's command was started."""

    def left(self) -> list[str]:
        """Everything left of the commands once no worker runs."""


class FileWitness:
    """Lets each command append a line to a file."""

    def __init__(self, folder: Path) -> None:
        self.settings: Mapping[str, str] = {}
        self._folder = folder
        folder.mkdir()

    def job_fields(self, number: int) -> Mapping[str, object]:
        return {"env": {"WITNESS": str(self._folder / str(number))}}

    def runs(self, number: int) -> int:
        return len((self._folder / str(number)).read_text().splitlines())

    def left(self) -> list[str]:
        return list(processes_of(self._folder).values())


class EngineWitness:
    """Counts the containers that the Docker Engine reports as started."""

    def __init__(self, address: str, folder: Path) -> None:
        """`folder` is a path that no other round uses."""
        pool = {"name": "default", "image": IMAGE, "images": [f"{REPOSITORY}:*"], "memoryMiB": 64, "processes": 64}
        self.settings = {"EXECUTOR_SANDBOX": "container", "EXECUTOR_POOLS": json.dumps([pool])}
        self.events: Counter[tuple[str, str]] = Counter()
        """Number of container events, by action and image."""
        self._folder = folder
        self._socket = address.removeprefix("unix://")
        self._client = docker.APIClient(base_url=address)
        made = self._client.create_container(IMAGE, command="true")["Id"]
        self._image = self._client.commit(made, REPOSITORY, "base", changes=IMAGE_CHANGES)["Id"]
        self._client.remove_container(made)
        self._events = self._client.events(decode=True, filters={"type": "container"})
        self._thread = threading.Thread(target=self._listen, name="events", daemon=True)
        self._thread.start()

    def job_fields(self, number: int) -> Mapping[str, object]:
        self._client.tag(self._image, REPOSITORY, str(number), force=True)
        return {"env": {"WITNESS": "/dev/null", "STORM": str(self._folder)}, "image": f"{REPOSITORY}:{number}"}

    def runs(self, number: int) -> int:
        return self.events["start", f"{REPOSITORY}:{number}"]

    def left(self) -> list[str]:
        containers = [f"container {found['Image']}: {found['Status']}" for found in self._client.containers(all=True)]
        volumes = [f"volume {found['Name']}" for found in self._client.volumes()["Volumes"] or []]
        # The processes that the engine starts for a container, and those that run in it.
        shims = [
            command for command in processes_of(Path(self._socket).parent).values() if "containerd-shim" in command
        ]
        return [*containers, *volumes, *shims, *processes_of(self._folder).values()]

    def close(self) -> None:
        self._events.close()
        self._thread.join(WAIT_SECONDS)
        self._client.close()

    def _listen(self) -> None:
        for event in self._events:
            found: dict[str, Any] = event
            self.events[found["Action"], found["Actor"]["Attributes"]["image"]] += 1


@contextmanager
def witness(engine: str | None, folder: Path) -> Iterator[Witness]:
    """A witness for the process sandbox or, with an address, for containers of that Docker Engine."""
    if engine is None:
        yield FileWitness(folder)
        return
    found = EngineWitness(engine, folder)
    try:
        yield found
    finally:
        found.close()


def assert_no_command_is_left(found: Witness) -> None:
    """Wait for, then assert, the absence of commands and of everything created for them."""
    with suppress(AssertionError):
        until(lambda: not found.left())
    left = found.left()
    assert not left, left
