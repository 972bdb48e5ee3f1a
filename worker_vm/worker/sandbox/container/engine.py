"""Call a Docker Engine, and define the container that a command runs in.

DOCKER_HOST is the engine's address; the default is its usual socket. The engine and the worker must see the same
folders under the same paths: if the worker itself runs in a container, its work folder has that path on the machine.
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

from cloud_executor.errors import Unavailable, os_reason
from worker_vm.worker.file_names import quoted_name
from worker_vm.worker.sandbox.container.gpus import driver_folders, gpu_devices, library_path
from worker_vm.worker.sandbox.container.images import PulledImages, free_share
from worker_vm.worker.sandbox.container.init_process import init_mount, with_init
from worker_vm.worker.sandbox.container.registry_credentials import credentials_for
from worker_vm.worker.sandbox.interface import (
    COMMON_ENVIRONMENT,
    JOB_USER_NAME,
    Command,
    CommandNotStarted,
    ImageMissing,
)
from worker_vm.worker.sandbox.limits import MIB
from worker_vm.worker.work_folder import AttemptFolder

logger = logging.getLogger(__name__)

FOLDER_LABEL = "cloud-executor.attempt-folder"
"""Label on every container: its attempt's folder."""

JOB_FOLDER = "/job"
"""Folder of the job in the container; the command's working directory."""

HOME_FOLDER = "/home/job"
"""HOME of the command in the container."""

TEMPORARY_FOLDER = "/tmp"  # noqa: S108 - in the container, it belongs to the command

TEMPORARY_MIB = 256
"""Size limit of the temporary folder if the command has no memory limit, in MiB. Otherwise it counts as memory."""

ENGINE_SECONDS = 60.0
"""Time limit for a response of the engine, in seconds. On a busy machine, a start takes several."""

PULL_SECONDS = 900.0
"""Time limit for pulling an image, in seconds."""

_INVALID_NAME = (
    "invalid reference",
    "invalid repository name",
    "repository name must",
    "invalid checksum digest",
    "unsupported digest algorithm",
)
_NOT_FOUND = (
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
_SERVER_ERROR = re.compile(r": 5\d\d ")
"""Status of an error in the registry itself, whatever else its message says."""

NO_SPACE = "no space left"
"""Part of the engine's error for a full disk."""

PULL_POLL_SECONDS = 0.1
"""Interval between two checks of whether another pull has ended, in seconds."""

JOB_USER = 65532
"""User and group of commands if the worker is root. Otherwise they are the worker's, which must read the results."""

SYSTEM_USERS = ("root:x:0:0:root:/root:/bin/sh", "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin")
"""Entries in the container's /etc/passwd besides the command's user. No command can become one of these users."""

JOB_OOM_SCORE = 500
"""Adjustment by which the kernel ends commands before other programs if the machine runs out of memory."""

KILLED = 128 + signal.SIGKILL
"""Exit code of a killed container."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """The part of the isolation that all commands share."""

    network: str
    """`none` or `bridge`. With `bridge`, the machine's firewall must block containers from the metadata server."""
    user: int
    group: int
    gpus: int
    """Number of the machine's GPUs; each command gets all of them."""
    runtime: str | None = None
    """The engine's runtime for containers; None: its default."""


class ContainerEngine:
    """A Docker Engine; safe for use by threads. All methods raise Unavailable if the engine does not work."""

    def __init__(self) -> None:
        with _errors():
            self._client = docker.APIClient(version="auto", timeout=int(ENGINE_SECONDS), **kwargs_from_env())
        self._pulling = threading.Lock()
        self._images = PulledImages(self._remove_image, self._free_share)

    def runtimes(self) -> list[str]:
        """The runtimes that containers can have."""
        with _errors():
            return sorted(self._client.info()["Runtimes"])

    def create(self, image: str, command: Command, isolation: Isolation) -> str:
        """Create a container, not started yet. Raises ImageNotFound, and ImageMissing if its name is invalid."""
        limits = command.limits
        memory = None if limits.memory_mib is None else limits.memory_mib * MIB
        # Open files that are deleted do not count as used disk, so their number must be small.
        ulimits = [Ulimit(name="core", soft=0, hard=0), Ulimit(name="nofile", soft=1024, hard=4096)]
        if limits.disk_mib is not None:
            ulimits.append(Ulimit(name="fsize", soft=limits.disk_mib * MIB, hard=limits.disk_mib * MIB))
        owner = f"uid={isolation.user},gid={isolation.group}"
        init = init_mount(command.folder)
        mounts = [
            Mount(JOB_FOLDER, str(command.folder.job), type="bind"),
            Mount(HOME_FOLDER, str(command.folder.home), type="bind"),
            Mount("/etc/passwd", str(_passwd(command.folder, isolation)), type="bind", read_only=True),
            *([] if init is None else [init]),
        ]
        if isolation.gpus:
            mounts += [Mount(*folders, type="bind", read_only=True) for folders in driver_folders().items()]
        temporary = f"rw,exec,nosuid,nodev,mode=1777,{owner},size={limits.memory_mib or TEMPORARY_MIB}m"
        with _errors():
            host = self._client.create_host_config(
                # An init process. A command that is process 1 must reap all others and ignores most signals by default.
                init=init is None,
                network_mode=isolation.network,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges:true"],
                read_only=True,
                tmpfs={TEMPORARY_FOLDER: temporary} | dict.fromkeys(self._volumes(image), temporary),
                mounts=mounts,
                devices=gpu_devices(isolation.gpus) if isolation.gpus else None,
                mem_limit=memory,
                memswap_limit=memory,
                pids_limit=limits.processes,
                # An engine rejects more than its machine has, which is this one.
                nano_cpus=None if limits.cpus is None else round(min(limits.cpus, os.cpu_count() or 1) * 1e9),
                ulimits=ulimits,
                log_config=LogConfig(type="none"),
                privileged=False,
                runtime=isolation.runtime,
                oom_score_adj=JOB_OOM_SCORE,
            )
            created = self._created(
                image,
                entrypoint=with_init(init, [command.program, *command.args]),
                working_dir=JOB_FOLDER,
                user=f"{isolation.user}:{isolation.group}",
                environment={
                    **COMMON_ENVIRONMENT,
                    "USER": JOB_USER_NAME,
                    "LOGNAME": JOB_USER_NAME,
                    "HOME": HOME_FOLDER,
                    "TMPDIR": TEMPORARY_FOLDER,
                    **(self._gpu_environment(image) if isolation.gpus else {}),
                    **command.env,
                    "ORIGIN_URL": command.origin_url,
                    "TINI_KILL_PROCESS_GROUP": "1",  # The init process passes signals to the whole group.
                },
                labels={FOLDER_LABEL: str(command.folder.root)},
                healthcheck={"test": ["NONE"]},
                host_config=host,
            )
            self._images.use(image)
            return str(created["Id"])

    def _volumes(self, image: str) -> set[str]:
        """Folders for which the engine would create volumes of unlimited size; none if the image is not pulled yet."""
        try:
            found: dict[str, Any] = self._client.inspect_image(image)  # type: ignore[no-untyped-call]
        except APIError:
            return set()
        volumes = {volume.rstrip("/") for volume in found["Config"].get("Volumes") or ()}
        return volumes - {"", JOB_FOLDER, HOME_FOLDER, TEMPORARY_FOLDER}

    def _gpu_environment(self, image: str) -> dict[str, str]:
        """Raises ImageNotFound."""
        found: dict[str, Any] = self._client.inspect_image(image)  # type: ignore[no-untyped-call]
        return {"LD_LIBRARY_PATH": library_path(found["Config"].get("Env") or ())}

    def _created(self, image: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - they are the engine's
        try:
            created: dict[str, Any] = self._client.create_container(image, **options)
            return created
        except APIError as error:
            if _has_one_of(_INVALID_NAME, str(error.explanation)):
                raise _not_pulled(image, str(error.explanation)) from error
            raise

    @contextmanager
    def attached(self, container: str) -> Iterator[socket.socket]:
        """Yield a connection that will receive the container's output."""
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
        """Send a signal to the command, if it still runs."""
        with _errors(), suppress(APIError):
            self._client.kill(container, number.value)

    def exit_code(self, container: str, seconds: int) -> int | None:
        """Wait up to this time for the container to end. Returns its exit code, or None if it still runs."""
        with suppress(requests.Timeout, requests.ConnectionError), _api_faults():
            try:
                return int(self._client.wait(container, timeout=seconds)["StatusCode"])
            except NotFound:
                # Something else removed the container, which kills it.
                return KILLED
        return None

    def init_process(self, container: str) -> int:
        """The container's first process; 0 if it is not visible here, or has ended."""
        with _errors(), suppress(NotFound):
            process = int(self._client.inspect_container(container)["State"]["Pid"])
            # A worker with process ids of its own would find another process.
            with suppress(OSError):
                return process if container in Path(f"/proc/{process}/cgroup").read_text() else 0
        return 0

    def was_out_of_memory(self, container: str) -> bool:
        with _errors(), suppress(NotFound):
            return bool(self._client.inspect_container(container)["State"]["OOMKilled"])
        return False

    def memory_bytes(self, container: str) -> int | None:
        """Peak memory of the container if the engine reports it, else its current memory; None if unknown."""
        with suppress(DockerException, requests.RequestException, OSError):
            found: dict[str, Any] = self._client.stats(container, stream=False, one_shot=True).get("memory_stats") or {}
            details = found.get("stats") or {}
            # Inactive cache does not count: it is freed when memory is short.
            used = found.get("max_usage") or found.get("usage", 0) - details.get("inactive_file", 0)
            return used if used > 0 else None
        return None

    def remove(self, container: str) -> None:
        """Kill and remove the container and its volumes. It may already be gone."""
        with _errors(), suppress(NotFound):
            try:
                self._client.remove_container(container, force=True, v=True)
            except APIError as error:
                if "is already in progress" not in str(error.explanation):
                    raise
                # Another request removes it, for example one of a worker that was killed meanwhile.
                self._client.wait(container, condition="removed", timeout=int(ENGINE_SECONDS))

    def containers(self) -> dict[str, Path]:
        """The attempt folders of all containers on this machine, including those of other workers, by container ID."""
        with _errors():
            found: list[dict[str, Any]] = self._client.containers(all=True, filters={"label": FOLDER_LABEL})
        return {container["Id"]: Path(container["Labels"][FOLDER_LABEL]) for container in found}

    def pull(self, image: str, check: Callable[[], None]) -> None:
        """Pull an image unless the engine has it. `check` is called repeatedly; it may raise an exception to stop.

        Raises ImageMissing if the image does not exist or may not be read, and Unavailable for other errors.
        """
        name, tag = _parts(image)
        # One at a time: another slot may pull the same image.
        while not self._pulling.acquire(timeout=PULL_POLL_SECONDS):
            check()
        try:
            with suppress(ImageNotFound), _errors():
                self._client.inspect_image(image)  # type: ignore[no-untyped-call]
                return
            self._images.make_room()
            start = time.monotonic()
            for event in self._client.pull(name, tag, stream=True, decode=True, auth_config=credentials_for(image)):
                check()
                if "error" in event:
                    raise self._not_pulled(image, str(event["error"]))
                if time.monotonic() > start + PULL_SECONDS:
                    raise _not_pulled(image, "it takes too long")
            seconds = round(time.monotonic() - start, 3)
            self._images.add(image)
            logger.info("image pulled", extra={"action": "pull", "image": image, "seconds": seconds})
        except (DockerException, requests.RequestException, OSError) as error:
            raise self._not_pulled(image, str(getattr(error, "explanation", None) or error)) from error
        finally:
            self._pulling.release()

    def _not_pulled(self, image: str, reason: str) -> ImageMissing | Unavailable:
        if NO_SPACE in reason.lower():
            self._images.make_room(full=True)
        return _not_pulled(image, reason)

    def _remove_image(self, image: str) -> bool:
        try:
            with _errors():
                self._client.remove_image(image)
        except ImageNotFound:
            return True
        except Unavailable:  # a container uses it
            return False
        return True

    def _free_share(self) -> float:
        """Free share of the disk with the images. The engine's folder may be hidden from this container."""
        with _errors():
            return free_share(Path(self._client.info()["DockerRootDir"]))


def _passwd(folder: AttemptFolder, isolation: Isolation) -> Path:
    """Write the users that a command sees: an image rarely has the one that it runs as. Raises CommandNotStarted."""
    path = folder.root / "passwd"
    user = f"{JOB_USER_NAME}:x:{isolation.user}:{isolation.group}::{HOME_FOLDER}:/bin/sh"
    try:
        path.write_text("\n".join((*SYSTEM_USERS, user, "")))
        path.chmod(0o644)
    except OSError as error:
        raise CommandNotStarted(f"The worker could not write the container's users: {os_reason(error)}.") from error
    return path


def _parts(image: str) -> tuple[str, str | None]:
    """Split an image into name and tag. A digest remains part of the name. The default tag is `latest`."""
    if "@" in image:
        return image, None
    head, slash, last = image.rpartition("/")
    name, _, tag = last.partition(":")
    return head + slash + name, tag or "latest"


def _not_pulled(image: str, reason: str) -> ImageMissing | Unavailable:
    """Log the error of the registry or the engine for the operator, and classify it for the job's owner."""
    logger.warning("cannot pull the image", extra={"action": "pull", "image": image, "reason": reason})
    reason = reason.lower()
    kind: type[ImageMissing | Unavailable] = Unavailable
    if _has_one_of(_INVALID_NAME, reason):
        kind, why = ImageMissing, "the image name is invalid"
    elif _BUSY.search(reason):
        why = "its registry limits the request rate; try again later"
    elif _has_one_of(_NOT_FOUND, reason) and not _SERVER_ERROR.search(reason):
        kind, why = ImageMissing, "it does not exist, or the worker may not read it"
    elif NO_SPACE in reason:
        why = "the worker's disk is full"
    elif "too long" in reason:
        why = "it took too long"
    else:
        why = "its registry cannot be reached"
    return kind(f"The image {quoted_name(image)} could not be pulled: {why}.")


def _has_one_of(phrases: Iterable[str], reason: str) -> bool:
    return any(phrase in reason for phrase in phrases)


@contextmanager
def _api_faults() -> Iterator[None]:
    """Turn error responses of the engine into Unavailable, except for a missing image."""
    try:
        yield
    except ImageNotFound:
        raise
    except DockerException as error:
        raise Unavailable("The container engine does not work; try again.") from error


@contextmanager
def _errors() -> Iterator[None]:
    """Turn a missing response into Unavailable, too."""
    try:
        with _api_faults():
            yield
    except ImageNotFound:
        raise
    except (requests.RequestException, OSError) as error:
        raise Unavailable("The container engine does not respond; try again.") from error


def job_user() -> tuple[int, int]:
    """The user and group of commands."""
    return (os.geteuid(), os.getegid()) if os.geteuid() != 0 else (JOB_USER, JOB_USER)
