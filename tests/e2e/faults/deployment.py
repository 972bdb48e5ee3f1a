"""Storage of a test's jobs, blobs, and messages, for this process and for the processes that it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from emulators.projects import new_project
from servers.tcp_proxy import TcpProxy
from stack_process import PROJECT, environment

from cloud_executor.blobs.store import BlobStore
from cloud_executor.blobs.upkeep import BlobUpkeep
from cloud_executor.composition import Jobs, create_in_emulators, open_blobs, open_jobs
from cloud_executor.settings import Settings
from local_stack.upkeep import Upkeep

STORAGE, FIRESTORE, PUBSUB = EMULATORS = ("STORAGE_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST")
"""Environment variables in which the client libraries look up the emulators' addresses."""

DOCKER = "DOCKER_HOST"
"""Environment variable in which a worker looks up the Docker Engine's address."""

_SCHEMES = {STORAGE: "http://", DOCKER: "tcp://"}

WORKER = ("-m", "worker_vm.worker.main")


@dataclass(frozen=True)
class Here:
    """The deployment as this process uses it, without proxies."""

    jobs: Jobs
    blobs: BlobStore


@dataclass(frozen=True)
class Deployment:
    variables: Mapping[str, str]
    """Environment variables: settings, and addresses of the emulators and the Docker Engine if they are used."""

    @property
    def work(self) -> Path:
        """Folder for the files of running jobs."""
        return Path(self.variables["EXECUTOR_DATA"]) / "work"

    @property
    def is_emulated(self) -> bool:
        return STORAGE in self.variables

    def create(self, max_deliveries: int = 20) -> None:
        """Create the resources that the deployment needs in the emulators; call it inside `here`."""
        if self.is_emulated:
            create_in_emulators(Settings.from_env(self.variables), max_deliveries)

    @contextmanager
    def here(self) -> Iterator[Here]:
        """Use the deployment in this process; inside the block, the client libraries find the emulators."""
        settings = Settings.from_env(self.variables)
        with pytest.MonkeyPatch.context() as patch:
            for name in EMULATORS:
                if self.is_emulated:
                    patch.setenv(name, self.variables[name])
            yield Here(open_jobs(settings), open_blobs(settings))

    @contextmanager
    def swept(self) -> Iterator[None]:
        """Run the sweep in this process inside the block; it repairs what crashes leave behind."""
        with self.here() as here:
            upkeep = Upkeep.repairs(here.jobs.sweep, BlobUpkeep(here.blobs))
            upkeep.start()
            try:
                yield
            finally:
                upkeep.stop()

    def start(
        self, *arguments: str, log: Path, proxies: Proxies | None = None, file_descriptors: Sequence[int] = ()
    ) -> subprocess.Popen[bytes]:
        """Start a Python program that uses the deployment."""
        variables = {**self.variables, **(proxies.variables if proxies else {})}
        with log.open("ab") as errors:
            return subprocess.Popen(
                [sys.executable, *arguments],
                cwd=PROJECT,
                env=environment(**variables),
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=file_descriptors,
                start_new_session=True,
            )


NewDeployment = Callable[..., Deployment]
"""Function that creates a deployment, with settings as keywords."""


def emulated_deployment(data: Path, emulators: Mapping[str, str], **settings: str) -> Deployment:
    """Create a deployment on these emulators, in a new project."""
    project = new_project()
    return Deployment(
        {
            "EXECUTOR_DATA": str(data),
            "EXECUTOR_OBJECTS": "gcs",
            "EXECUTOR_JOBS": "google",
            "EXECUTOR_PROJECT": project,
            "EXECUTOR_BUCKET": project,
            **emulators,
            **settings,
        }
    )


class Proxies:
    """One program's proxies to the emulators and to the Docker Engine."""

    def __init__(self, by_variable: Mapping[str, TcpProxy]) -> None:
        self.by_variable = by_variable
        """Proxies by the environment variables that hold their addresses."""

    @property
    def variables(self) -> dict[str, str]:
        return {name: _SCHEMES.get(name, "") + proxy.address for name, proxy in self.by_variable.items()}

    def cut(self) -> None:
        for proxy in self.by_variable.values():
            proxy.cut()

    def stall(self) -> None:
        for proxy in self.by_variable.values():
            proxy.stall()

    def restore(self) -> None:
        for proxy in self.by_variable.values():
            proxy.restore()


@contextmanager
def proxies_to(deployment: Deployment) -> Iterator[Proxies]:
    """Proxies to the deployment's emulators and Docker Engine; an embedded deployment without Docker has none."""
    with ExitStack() as stack:
        yield Proxies(
            {
                name: stack.enter_context(closing(TcpProxy(deployment.variables[name].rpartition("://")[2])))
                for name in (*EMULATORS, DOCKER)
                if name in deployment.variables
            }
        )


def environment_of(pid: int) -> dict[str, str]:
    """The environment variables with which a process was started."""
    pairs = (Path("/proc") / str(pid) / "environ").read_bytes().rstrip(b"\0").split(b"\0")
    return dict(os.fsdecode(pair).split("=", 1) for pair in pairs)
