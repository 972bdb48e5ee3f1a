"""What shows how often the command of a job has run, and that nothing of it is left, whatever the workers say."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import docker
from docker_engine import IMAGE
from stack_process import WAIT_SECONDS, processes_of, until

REPOSITORY = "storm"
"""of the images; each job has one of its own, by which the engine's events tell whose container it was"""

IMAGE_CHANGES = ["VOLUME /data"]
"""so that each container has a volume, which must go with it"""


class Witness(Protocol):
    """Of the commands in one round."""

    settings: Mapping[str, str]
    """of the workers"""

    def job_fields(self, number: int) -> Mapping[str, object]:
        """What the configuration of a job needs."""

    def runs(self, number: int) -> int:
        """How often the command of a job has begun."""

    def left(self) -> list[str]:
        """What is there of commands, now that no worker runs."""


class FileWitness:
    """Each command adds a line to a file."""

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
    """The Docker Engine tells of each container that it starts."""

    def __init__(self, address: str, folder: Path) -> None:
        """`folder`: a name that no other round has."""
        pool = {"name": "default", "image": IMAGE, "images": [f"{REPOSITORY}:*"], "memoryMiB": 64, "processes": 64}
        self.settings = {"EXECUTOR_SANDBOX": "container", "EXECUTOR_POOLS": json.dumps([pool])}
        self.events: Counter[tuple[str, str]] = Counter()
        """what happened to the containers of an image"""
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
        # What the engine starts for a container and what runs in it.
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
    """For the process sandbox, or for containers of the engine at this address."""
    if engine is None:
        yield FileWitness(folder)
        return
    found = EngineWitness(engine, folder)
    try:
        yield found
    finally:
        found.close()


def assert_no_command_is_left(found: Witness) -> None:
    """Nor anything that was made for one."""
    with suppress(AssertionError):
        until(lambda: not found.left())
    left = found.left()
    assert not left, left
