"""Where the jobs, blobs and messages of a test are, for this process and for those that it starts."""

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
from stack_process import PROJECT, environment
from tcp_proxy import TcpProxy

from cloud_executor.blobs.store import BlobStore
from cloud_executor.composition import Jobs, create_in_emulators, open_blobs, open_jobs
from cloud_executor.settings import Settings
from local_stack.upkeep import Upkeep

STORAGE, FIRESTORE, PUBSUB = EMULATORS = ("STORAGE_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST")
"""variables, by which the clients' libraries find the emulators"""

DOCKER = "DOCKER_HOST"
"""the variable by which a worker finds the Docker Engine"""

_SCHEMES = {STORAGE: "http://", DOCKER: "tcp://"}

WORKER = ("-m", "worker_vm.worker.main")


@dataclass(frozen=True)
class Here:
    """It as this process uses it, past all proxies."""

    jobs: Jobs
    blobs: BlobStore


@dataclass(frozen=True)
class Deployment:
    variables: Mapping[str, str]
    """settings, and where the emulators and the Docker Engine are, if there are any"""

    @property
    def work(self) -> Path:
        """The folder for running jobs."""
        return Path(self.variables["EXECUTOR_DATA"]) / "work"

    @property
    def is_emulated(self) -> bool:
        return STORAGE in self.variables

    def create(self, max_deliveries: int = 20) -> None:
        """Make what has to be there, within `here`."""
        if self.is_emulated:
            create_in_emulators(Settings.from_env(self.variables), max_deliveries)

    @contextmanager
    def here(self) -> Iterator[Here]:
        """Use it in this process: the clients find the emulators meanwhile."""
        settings = Settings.from_env(self.variables)
        with pytest.MonkeyPatch.context() as patch:
            for name in EMULATORS:
                if self.is_emulated:
                    patch.setenv(name, self.variables[name])
            yield Here(open_jobs(settings), open_blobs(settings))

    @contextmanager
    def swept(self) -> Iterator[None]:
        """What crashes leave is mended meanwhile, in this process."""
        with self.here() as here:
            upkeep = Upkeep(here.jobs.sweep, here.blobs)
            upkeep.start()
            try:
                yield
            finally:
                upkeep.stop()

    def start(
        self, *arguments: str, log: Path, proxies: Proxies | None = None, file_descriptors: Sequence[int] = ()
    ) -> subprocess.Popen[bytes]:
        """A Python program that uses it."""
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
"""makes one, with settings by keyword"""


def emulated_deployment(data: Path, emulators: Mapping[str, str], **settings: str) -> Deployment:
    """A new one on these emulators, in a project of its own."""
    project = new_project()
    return Deployment(
        {
            "EXECUTOR_DATA": str(data),
            "EXECUTOR_OBJECTS": "gcs",
            "EXECUTOR_JOBS": "firestore",
            "EXECUTOR_QUEUE": "pubsub",
            "EXECUTOR_PROJECT": project,
            "EXECUTOR_BUCKET": project,
            **emulators,
            **settings,
        }
    )


class Proxies:
    """One program's ways to the emulators, and to the Docker Engine."""

    def __init__(self, ways: Mapping[str, TcpProxy]) -> None:
        self.ways = ways
        """by their variables"""

    @property
    def variables(self) -> dict[str, str]:
        return {name: _SCHEMES.get(name, "") + way.address for name, way in self.ways.items()}

    def cut(self) -> None:
        for way in self.ways.values():
            way.cut()

    def stall(self) -> None:
        for way in self.ways.values():
            way.stall()

    def restore(self) -> None:
        for way in self.ways.values():
            way.restore()


@contextmanager
def proxies_to(deployment: Deployment) -> Iterator[Proxies]:
    """None where there is neither: nothing is far away then."""
    with ExitStack() as stack:
        yield Proxies(
            {
                name: stack.enter_context(closing(TcpProxy(deployment.variables[name].rpartition("://")[2])))
                for name in (*EMULATORS, DOCKER)
                if name in deployment.variables
            }
        )


def environment_of(pid: int) -> dict[str, str]:
    """The variables that a process was started with."""
    pairs = (Path("/proc") / str(pid) / "environ").read_bytes().rstrip(b"\0").split(b"\0")
    return dict(os.fsdecode(pair).split("=", 1) for pair in pairs)
