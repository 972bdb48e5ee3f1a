"""The calls to a Docker Engine, and the container that a command gets.

The engine is where DOCKER_HOST says, else at the usual socket. It sees the same folders under the same paths as the
worker does: a worker that is a container itself needs its work folder mounted where it is on the machine.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import LogConfig, Mount, Ulimit
from docker.utils import kwargs_from_env

from cloud_executor.errors import Unavailable
from worker_vm.worker.file_names import quoted_name
from worker_vm.worker.sandbox.container.gpus import driver_folders, gpu_devices, library_path
from worker_vm.worker.sandbox.container.registry_credentials import credentials_for
from worker_vm.worker.sandbox.interface import Command, CommandNotStarted
from worker_vm.worker.sandbox.limits import MIB

logger = logging.getLogger(__name__)

FOLDER_LABEL = "cloud-executor.attempt-folder"
"""on every container: the folder of the attempt that it is for"""

JOB_FOLDER = "/job"
"""where a command finds its files, and starts"""

TEMPORARY_FOLDER = "/tmp"  # noqa: S108 - in the container it is the command's own

TEMPORARY_MIB = 256
"""that it may hold where memory has no limit, of which it is a part"""

ENGINE_SECONDS = 60.0
"""how long the engine may take to answer; a start on a busy machine takes some seconds"""

PULL_SECONDS = 900.0
"""how long an image may take to arrive"""

_NO_NAME = (
    "invalid reference",
    "invalid repository name",
    "repository name must",
    "invalid checksum digest",
    "unsupported digest algorithm",
)
_REFUSED = (
    "denied",
    "unauthorized",
    "forbidden",
    "no basic auth credentials",
    "not found",
    "manifest unknown",
    "name unknown",
    "does not exist",
)
_BUSY = re.compile(r"toomanyrequests|too many requests|http 429")
_AT_FAULT = re.compile(r": 5\d\d ")
"""the status of a registry that is at fault itself, whatever it says besides"""

PULL_POLL_SECONDS = 0.1

JOB_USER = 65532
"""user and group of commands where the worker is root; else they are the worker's own, so that it can read results"""


KILLED = 128 + signal.SIGKILL
"""the exit code of what was killed"""


@dataclass(frozen=True, slots=True)
class Isolation:
    """What is the same for all commands."""

    network: str
    """`none`, or `bridge`: then the machine's firewall has to keep containers from its metadata server"""
    user: int
    group: int
    gpus: int
    """of the machine, all of which each command gets"""


class ContainerEngine:
    """Safe for use by threads. Raises Unavailable if the engine does not do what any engine does."""

    def __init__(self) -> None:
        with _errors():
            self._client = docker.APIClient(version="auto", timeout=int(ENGINE_SECONDS), **kwargs_from_env())
        self._pulling = threading.Lock()

    def create(self, image: str, command: Command, isolation: Isolation) -> str:
        """Make a container that is not started. Raises ImageNotFound."""
        limits = command.limits
        memory = None if limits.memory_mib is None else limits.memory_mib * MIB
        ulimits = [Ulimit(name="core", soft=0, hard=0)]
        if limits.disk_mib is not None:
            ulimits.append(Ulimit(name="fsize", soft=limits.disk_mib * MIB, hard=limits.disk_mib * MIB))
        owner = f"uid={isolation.user},gid={isolation.group}"
        mounts = [Mount(JOB_FOLDER, str(command.folder.job), type="bind")]
        if isolation.gpus:
            mounts += [Mount(*folders, type="bind", read_only=True) for folders in driver_folders().items()]
        temporary = f"rw,exec,nosuid,nodev,mode=1777,{owner},size={limits.memory_mib or TEMPORARY_MIB}m"
        with _errors():
            host = self._client.create_host_config(
                # The first process of a container reaps all others, and hears only the signals that it asks for.
                init=True,
                network_mode=isolation.network,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges:true"],
                read_only=True,
                tmpfs={TEMPORARY_FOLDER: temporary},
                mounts=mounts,
                devices=gpu_devices(isolation.gpus) if isolation.gpus else None,
                mem_limit=memory,
                memswap_limit=memory,
                pids_limit=limits.processes,
                # An engine refuses more than its machine has, which is this one.
                nano_cpus=None if limits.cpus is None else round(min(limits.cpus, os.cpu_count() or 1) * 1e9),
                ulimits=ulimits,
                log_config=LogConfig(type="none"),
                privileged=False,
            )
            made = self._made(
                image,
                entrypoint=[command.program, *command.args],
                working_dir=JOB_FOLDER,
                user=f"{isolation.user}:{isolation.group}",
                environment={
                    "HOME": JOB_FOLDER,
                    "TMPDIR": TEMPORARY_FOLDER,
                    **(self._gpu_environment(image) if isolation.gpus else {}),
                    **command.env,
                    "ORIGIN_URL": command.origin_url,
                    "TINI_KILL_PROCESS_GROUP": "1",  # the init process hands signals to the command's whole group
                },
                labels={FOLDER_LABEL: str(command.folder.root)},
                healthcheck={"test": ["NONE"]},
                host_config=host,
            )
            return str(made["Id"])

    def _gpu_environment(self, image: str) -> dict[str, str]:
        """Raises ImageNotFound."""
        found: dict[str, Any] = self._client.inspect_image(image)  # type: ignore[no-untyped-call]
        return {"LD_LIBRARY_PATH": library_path(found["Config"].get("Env") or ())}

    def _made(self, image: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - they are the engine's
        try:
            made: dict[str, Any] = self._client.create_container(image, **options)
            return made
        except APIError as error:
            if _has_one_of(_NO_NAME, str(error.explanation)):
                raise _not_pulled(image, str(error.explanation)) from error
            raise

    @contextmanager
    def attached(self, container: str) -> Iterator[socket.socket]:
        """The connection that its output will come from."""
        with _errors():
            stream = self._client.attach_socket(container, params={"stdout": 1, "stderr": 1, "stream": 1, "logs": 0})
        connection: socket.socket = stream._sock
        try:
            yield connection
        finally:
            stream._response.close()
            stream.close()
            connection.close()

    def start(self, container: str) -> None:
        with _errors():
            self._client.start(container)

    def kill(self, container: str, number: signal.Signals) -> None:
        """Signal the command, if it still runs."""
        with _errors(), suppress(APIError):
            self._client.kill(container, number.value)

    def exit_code(self, container: str, seconds: int) -> int | None:
        """With which the container ended; None: it has not."""
        with suppress(requests.Timeout, requests.ConnectionError), _api_faults():
            try:
                return int(self._client.wait(container, timeout=seconds)["StatusCode"])
            except NotFound:
                # Somebody has removed it, which kills it.
                return KILLED
        return None

    def was_out_of_memory(self, container: str) -> bool:
        with _errors(), suppress(NotFound):
            return bool(self._client.inspect_container(container)["State"]["OOMKilled"])
        return False

    def memory_bytes(self, container: str) -> int | None:
        """The most memory that it had until now, where the engine tells, else what it has; None: that is not known."""
        with suppress(DockerException, requests.RequestException, OSError):
            found: dict[str, Any] = self._client.stats(container, stream=False, one_shot=True).get("memory_stats") or {}
            details = found.get("stats") or {}
            # Of the cache what nothing uses goes when memory is short.
            used = found.get("max_usage") or found.get("usage", 0) - details.get("inactive_file", 0)
            return used if used > 0 else None
        return None

    def remove(self, container: str) -> None:
        """Kill and remove it, with what it had for volumes; it may be gone already."""
        with _errors(), suppress(NotFound):
            try:
                self._client.remove_container(container, force=True, v=True)
            except APIError as error:
                if "is already in progress" not in str(error.explanation):
                    raise
                # Somebody else does it: a worker that was killed meanwhile, for instance.
                self._client.wait(container, condition="removed", timeout=int(ENGINE_SECONDS))

    def containers(self) -> dict[str, Path]:
        """All containers of attempts on this machine, those of other workers included, and the attempts' folders."""
        with _errors():
            found: list[dict[str, Any]] = self._client.containers(all=True, filters={"label": FOLDER_LABEL})
        return {container["Id"]: Path(container["Labels"][FOLDER_LABEL]) for container in found}

    def pull(self, image: str, check: Callable[[], None]) -> None:
        """Fetch an image. Whatever `check` raises ends that.

        Raises CommandNotStarted if there is no such image for us, and Unavailable if it cannot be fetched now.
        """
        name, tag = _parts(image)
        end = time.monotonic() + PULL_SECONDS
        # One at a time: a second slot finds that the first has brought it.
        while not self._pulling.acquire(timeout=PULL_POLL_SECONDS):
            check()
        try:
            with suppress(ImageNotFound), _errors():
                self._client.inspect_image(image)  # type: ignore[no-untyped-call]
                return
            logger.info("image pulled", extra={"action": "pull", "image": image})
            for event in self._client.pull(name, tag, stream=True, decode=True, auth_config=credentials_for(image)):
                check()
                if "error" in event:
                    raise _not_pulled(image, str(event["error"]))
                if time.monotonic() > end:
                    raise _not_pulled(image, "it takes too long")
        except (DockerException, requests.RequestException, OSError) as error:
            raise _not_pulled(image, str(getattr(error, "explanation", None) or error)) from error
        finally:
            self._pulling.release()


def _parts(image: str) -> tuple[str, str | None]:
    """Name and tag; a digest stays part of the name, and what has neither means the latest."""
    if "@" in image:
        return image, None
    head, slash, last = image.rpartition("/")
    name, _, tag = last.partition(":")
    return head + slash + name, tag or "latest"


def _not_pulled(image: str, reason: str) -> CommandNotStarted | Unavailable:
    """What registries and engines say is for the operator's log; its owner learns which kind of fault it is."""
    logger.warning("image was not pulled", extra={"action": "pull", "image": image, "reason": reason})
    text = reason.lower()
    kind: type[CommandNotStarted | Unavailable] = Unavailable
    if _has_one_of(_NO_NAME, text):
        kind, why = CommandNotStarted, "that is no name of an image"
    elif _BUSY.search(text):
        why = "its registry takes no more requests at the moment"
    elif _has_one_of(_REFUSED, text) and not _AT_FAULT.search(text):
        kind, why = CommandNotStarted, "there is no such image, or the worker may not read it"
    elif "no space left" in text:
        why = "the worker's disk is full"
    elif "too long" in text:
        why = "it took too long"
    else:
        why = "its registry cannot be reached"
    return kind(f"The image {quoted_name(image)} could not be pulled: {why}.")


def _has_one_of(words: Iterable[str], text: str) -> bool:
    return any(word in text for word in words)


@contextmanager
def _api_faults() -> Iterator[None]:
    """What the engine answers, but for what callers tell apart, as Unavailable."""
    try:
        yield
    except ImageNotFound:
        raise
    except DockerException as error:
        raise Unavailable("The container engine does not work; try again.") from error


@contextmanager
def _errors() -> Iterator[None]:
    """The same, and that it does not answer at all."""
    try:
        with _api_faults():
            yield
    except ImageNotFound:
        raise
    except (requests.RequestException, OSError) as error:
        raise Unavailable("The container engine does not answer; try again.") from error


def job_user() -> tuple[int, int]:
    """User and group of commands."""
    return (os.geteuid(), os.getegid()) if os.geteuid() != 0 else (JOB_USER, JOB_USER)
