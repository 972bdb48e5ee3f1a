"""Worker programs that are killed, frozen, and restarted."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deployment import DOCKER, WORKER, Deployment, Proxies, proxies_to
from stack_process import WAIT_SECONDS, processes_of, until

CANNOT_START = 2
"""Exit code of a worker that cannot start, for example because it cannot reach the storage."""


class FleetWorker:
    """A worker program that is restarted whenever it was killed."""

    def __init__(
        self, deployment: Deployment, slots: int, proxies: Proxies, log: Path, program: Sequence[str] = WORKER
    ) -> None:
        self.proxies = proxies
        self.busy = False
        """Whether a fault is in progress for this worker."""
        self._killed_on_request = False
        self._deployment = deployment
        self._slots = slots
        self._log = log
        self._program = program
        self.process = self._start()

    def kill(self) -> None:
        self.end()
        self.process = self._start()

    def kill_on_request(self, request: bytes, seconds: float, killed: Callable[[], None]) -> None:
        """Kill the worker this many seconds after its next such request to the Docker Engine; then call `killed`."""

        def kill() -> None:
            if self.process.poll() is None:
                self._killed_on_request = True
                self.process.kill()
                killed()

        self.proxies.by_variable[DOCKER].when_sent(request, seconds, kill)

    def cancel_kill(self) -> None:
        """Cancel `kill_on_request` if the request has not been sent."""
        self.proxies.by_variable[DOCKER].forget()

    def restart_if_ended(self) -> None:
        """Restart the worker if it was killed on a request or could not start."""
        code = self.process.poll()
        if code is not None:
            assert self._killed_on_request or code == CANNOT_START, f"a worker ended by itself, with exit code {code}"
            self._killed_on_request = False
            self.process = self._start()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """Stop the worker with SIGTERM and return its exit code."""
        self.process.terminate()
        return self.process.wait(WAIT_SECONDS)

    def end(self) -> None:
        """Kill the worker if it has not ended."""
        self.process.kill()
        self.process.wait(WAIT_SECONDS)

    def _start(self) -> subprocess.Popen[bytes]:
        return self._deployment.start(*self._program, "--slots", str(self._slots), log=self._log, proxies=self.proxies)


@contextmanager
def fleet(
    deployment: Deployment, count: int, slots: int, log: Path, programs: Sequence[Sequence[str]] = ()
) -> Iterator[list[FleetWorker]]:
    """Run workers inside the block, each with its own proxies to the storage.

    `programs` are the programs of the first workers, if they are not the usual one.
    """
    with ExitStack() as stack:
        workers = []
        for number in range(count):
            program = programs[number] if number < len(programs) else WORKER
            worker = FleetWorker(deployment, slots, stack.enter_context(proxies_to(deployment)), log, program)
            stack.callback(worker.end)
            workers.append(worker)
        yield workers


def assert_nothing_is_left(deployment: Deployment) -> None:
    """Assert that neither a process nor a folder of a job is left."""
    until(lambda: not processes_of(deployment.work))
    assert list(deployment.work.iterdir()) == []
