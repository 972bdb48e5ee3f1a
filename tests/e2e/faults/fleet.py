"""Workers that come and go."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deployment import DOCKER, WORKER, Deployment, Proxies, proxies_to
from stack_process import WAIT_SECONDS, processes_of, until

CANNOT_BEGIN = 2


class FleetWorker:
    """A worker program, which is started again whenever it was killed."""

    def __init__(self, deployment: Deployment, slots: int, proxies: Proxies, log: Path) -> None:
        self.proxies = proxies
        self.busy = False
        """whether a fault is being done to it"""
        self._struck = False
        self._deployment = deployment
        self._slots = slots
        self._log = log
        self.process = self._start()

    def kill(self) -> None:
        self.end()
        self.process = self._start()

    def strike(self, request: bytes, seconds: float, struck: Callable[[], None]) -> None:
        """Kill it so long after its next request of this kind to the engine; `struck` hears of it."""

        def kill() -> None:
            if self.process.poll() is None:
                self._struck = True
                self.process.kill()
                struck()

        self.proxies.ways[DOCKER].when_sent(request, seconds, kill)

    def spare(self) -> None:
        """Strike it no more, should such a request not have come."""
        self.proxies.ways[DOCKER].forget()

    def look_after(self) -> None:
        """Start it again if it was struck, or could not begin, as one that meets no storage says by its exit code."""
        code = self.process.poll()
        if code is not None:
            assert self._struck or code == CANNOT_BEGIN, f"a worker ended by itself, with {code}"
            self._struck = False
            self.process = self._start()

    def freeze(self) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def stop(self) -> int:
        """The exit code."""
        self.process.terminate()
        return self.process.wait(WAIT_SECONDS)

    def end(self) -> None:
        """By force, if it has not ended."""
        self.process.kill()
        self.process.wait(WAIT_SECONDS)

    def _start(self) -> subprocess.Popen[bytes]:
        return self._deployment.start(*WORKER, "--slots", str(self._slots), log=self._log, proxies=self.proxies)


@contextmanager
def fleet(deployment: Deployment, count: int, slots: int, log: Path) -> Iterator[list[FleetWorker]]:
    """Workers, each with its own ways to the storage."""
    with ExitStack() as stack:
        workers = []
        for _ in range(count):
            worker = FleetWorker(deployment, slots, stack.enter_context(proxies_to(deployment)), log)
            stack.callback(worker.end)
            workers.append(worker)
        yield workers


def assert_nothing_is_left(deployment: Deployment) -> None:
    """No process and no folder of a job."""
    until(lambda: not processes_of(deployment.work))
    assert list(deployment.work.iterdir()) == []
