"""Jobs in a storm of faults: workers are killed, frozen, and cut off, messages are duplicated, and the server dies.

Afterward every job is checked: the result alone shows whether its command ran correctly, and a witness knows how often
it ran.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from deployment import DOCKER, Deployment, Here, environment_of
from fleet import FleetWorker, assert_nothing_is_left, fleet
from stack_process import StackProcess, job_folder, processes_of, until
from witness import Witness, assert_no_command_is_left, witness

from cloud_executor import Client, JobInfo
from cloud_executor.errors import CloudExecutorError
from cloud_executor.model.jobs.job import Job

LEASE_SECONDS = 5
SETTINGS = {
    "EXECUTOR_LEASE": str(LEASE_SECONDS),
    "EXECUTOR_WORKER_REFRESH_INTERVAL": "2000",
    "EXECUTOR_RETRIES": "1000",
}
WORKERS = 3
SLOTS = 3

WATCH_SECONDS = 0.5
"""Interval between looks at all jobs, in seconds."""
SERVER_REST_SECONDS = 11.0
"""Shortest time between two kills of the server, in seconds: the pauses before its restarts grow if it ends sooner."""
FAULTS_EXCEEDED = 5
"""Number of faults that every storm exceeds."""

SETTLE_SECONDS = 120.0
"""Time within which all jobs must finish after the storm, in seconds."""
DUPLICATES = 10
"""Number of messages that one fault duplicates."""

REQUEST_SECONDS = 0.15
"""Approximate duration of a request to the Docker Engine, in seconds: a worker is killed within it."""

SCRIPT = """
echo begin >> "$WITNESS"
sha256sum < input.txt > result.txt
sleep {seconds}
echo end
"""
ARTIFACTS = [{"name": "result", "resultPatterns": ["result.txt"]}]


@dataclass
class Report:
    """The faults of one round, and its jobs."""

    kind: str
    seed: int
    faults: tuple[str, ...]
    """Names of the possible faults."""
    done: Counter[str] = field(default_factory=Counter)
    """Number of faults of each kind that happened."""
    jobs: int = 0
    runs: int = 0
    attempts: int = 0
    most_attempts: int = 0
    losses: int = 0
    seconds: float = 0.0

    def row(self) -> dict[str, object]:
        faults = {name: self.done[name] for name in self.faults}
        return {
            "stack": self.kind,
            "seed": self.seed,
            "jobs": self.jobs,
            "attempts": self.attempts,
            "most": self.most_attempts,
            "lost": self.lost_attempts,
            "runs": self.runs,
            **faults,
            "seconds": round(self.seconds),
        }


def run_round(
    folder: Path,
    options: tuple[str, ...],
    seed: int,
    jobs: int,
    storm_seconds: float,
    engine: str | None = None,
    backends: Mapping[str, str] | None = None,
) -> Report:
    """Run a storm on a new stack and check what must hold afterward. Raises AssertionError.

    With `engine`, the address of a Docker Engine, the commands run in containers of that engine. `backends` are
    variables that select other backends.
    """
    kind = "emulated" if options or backends else "embedded"
    report = Report(kind, seed, tuple(FAULTS if engine is None else CONTAINER_FAULTS))
    settings = {**SETTINGS, **(backends or {})}
    log = folder / "workers.log"
    started = time.monotonic()
    with (
        witness(engine, folder / "commands") as seen,
        closing(StackProcess(folder / "data", "--slots", "0", *options, settings=settings | seen.settings)) as stack,
    ):
        server = stack.pid_of("functions.serve")
        assert server is not None
        used = {name: value for name, value in environment_of(server).items() if name.startswith("EXECUTOR_")}
        used |= {name: value for name, value in environment_of(server).items() if name.endswith("_EMULATOR_HOST")}
        deployment = Deployment(used if engine is None else used | {DOCKER: engine})
        with deployment.here() as here, fleet(deployment, WORKERS, SLOTS, log) as workers:
            storm = _Storm(stack, here, workers, random.Random(seed), report, seen)
            storm.run(jobs, storm_seconds)
            storm.check()
            assert [worker.stop() for worker in workers] == [0] * WORKERS
        if engine is not None:
            # A worker's last request before a kill may have created a container; the next worker to start removes it.
            last_log = folder / "last.log"
            with fleet(deployment, 1, 1, last_log) as (last,):
                until(lambda: "worker started" in last_log.read_text())
                assert last.stop() == 0
        assert_no_command_is_left(seen)
        assert_nothing_is_left(deployment)
        assert stack.stop() == 0
        assert processes_of(stack.data) == {}
    report.seconds = time.monotonic() - started
    return report


class _Watch:
    """Looks at all jobs regularly and records changes that must not happen."""

    def __init__(self, here: Here) -> None:
        self.violations: list[str] = []
        self.jobs: dict[str, Job] = {}
        self._here = here
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(SETTLE_SECONDS)

    def _run(self) -> None:
        try:
            while not self._ended.wait(WATCH_SECONDS):
                self.look()
        except Exception as error:
            self.violations.append(f"the watch failed: {error!r}")

    def look(self) -> None:
        found = {job.hash: job for job in self._here.jobs.clients.jobs()}
        for job_hash, before in self.jobs.items():
            now = found.get(job_hash)
            if now is None:
                self.violations.append(f"lost: {before}")
            elif before.finished and now != before:
                self.violations.append(f"changed after it had finished: {before} {now}")
            elif now.attempt < before.attempt or now.lost_attempts < before.lost_attempts:
                self.violations.append(f"went backward: {before} {now}")
            elif now.attempt == before.attempt and now.worker not in (before.worker, None):
                self.violations.append(f"changed workers within an attempt: {before} {now}")
        self.jobs = found


class _Storm:
    def __init__(
        self,
        stack: StackProcess,
        here: Here,
        workers: list[FleetWorker],
        chance: random.Random,
        report: Report,
        seen: Witness,
    ) -> None:
        self._stack = stack
        self._here = here
        self._workers = workers
        self._chance = chance
        self._report = report
        self._witness = seen
        self._watch = _Watch(here)
        self._expected: dict[str, tuple[int, str]] = {}
        """Number and expected result of each job, by hash."""
        self._ahead: list[tuple[float, Callable[[], None]]] = []
        """Functions that end the faults in progress, with the times at which to call them."""
        self._server_rests_until = time.monotonic() + SERVER_REST_SECONDS
        self._submitter_error: BaseException | None = None

    def run(self, jobs: int, seconds: float) -> None:
        """Run the storm, then wait until all jobs have finished or time is up."""
        self._watch.start()
        submitter = threading.Thread(target=self._submit_all, args=(jobs, seconds), name="submit", daemon=True)
        submitter.start()
        end = time.monotonic() + seconds
        # On a busy machine, faults may find few opportunities: the storm then lasts until enough have happened.
        while time.monotonic() < end or (not self._enough() and time.monotonic() < end + SETTLE_SECONDS):
            self._end_faults(time.monotonic())
            self._begin_fault()
            time.sleep(self._chance.uniform(0.2, 1.0))
        while self._ahead:
            self._end_faults(time.monotonic())
            time.sleep(0.1)
        submitter.join(SETTLE_SECONDS)
        assert not submitter.is_alive()
        if self._submitter_error is not None:
            raise self._submitter_error
        end = time.monotonic() + SETTLE_SECONDS
        while not self._all_finished() and time.monotonic() < end:
            self._end_faults(time.monotonic())
            time.sleep(WATCH_SECONDS)
        # Give old messages and previously frozen workers a chance to do harm.
        self._duplicate()
        time.sleep(3 * WATCH_SECONDS)
        self._watch.stop()
        self._watch.look()

    def _enough(self) -> bool:
        done = self._report.done
        return done.total() > FAULTS_EXCEEDED and all(done[name] for name in self._report.faults if name in MOMENTS)

    def check(self) -> None:
        """Check what must hold at the end."""
        assert not self._watch.violations, self._watch.violations
        jobs = self._watch.jobs
        assert jobs.keys() == self._expected.keys(), "exactly the acknowledged jobs must exist"
        endings = Counter((job.status, job.error) for job in jobs.values())
        assert endings == {("SUCCESS", None): len(jobs)}, endings
        for job_hash, (number, result) in self._expected.items():
            job = jobs[job_hash]
            assert self._result_of(job) == result, job
            runs = self._witness.runs(number)
            assert 1 <= runs <= job.attempt, (runs, job)
            assert job.lost_attempts < job.attempt, job
            self._report.runs += runs
        self._report.jobs = len(jobs)
        self._report.attempts = sum(job.attempt for job in jobs.values())
        self._report.most_attempts = max(job.attempt for job in jobs.values())
        self._report.lost_attempts = sum(job.lost_attempts for job in jobs.values())

    def _result_of(self, job: Job) -> str:
        """The result, read by its hashes; asserts that each hash matches the content that it names."""
        assert job.result_hashes is not None
        artifact = self._here.blobs.metadata(job.result_hashes["result"]).metadata
        assert artifact.hash == hashlib.sha1(artifact.canonical).hexdigest() == job.result_hashes["result"]
        file = self._here.blobs.metadata(artifact.files["result.txt"].content_hash).metadata
        assert file.hash == hashlib.sha1(file.canonical).hexdigest()
        with self._here.blobs.open_content(file.content_hash) as content:
            found = content.read()
        assert file.content_hash == hashlib.sha1(found).hexdigest()
        return found.decode().split()[0]

    # Jobs ---------------------------------------------------------------------------------------------------------

    def _submit_all(self, jobs: int, seconds: float) -> None:
        try:
            started = time.monotonic()
            with self._stack.client as client, tempfile.TemporaryDirectory() as scratch:
                for number in range(jobs):
                    self._submit(client, Path(scratch) / str(number), number)
                    time.sleep(max(0.0, started + seconds * number / jobs - time.monotonic()))
        except BaseException as error:
            self._submitter_error = error

    def _submit(self, client: Client, folder: Path, number: int) -> None:
        content = f"job {number} of {self._report.seed}\n" * (1 + number % 50)
        script = SCRIPT.format(seconds=(number % 8) / 10)
        job_folder(folder, script, ARTIFACTS, **self._witness.job_fields(number))
        (folder / "input.txt").write_text(content)
        # The client retries until the job is acknowledged; only then is the job expected.
        job_hash = _retried(lambda: client.upload_folder(folder, "job.zip"))
        _retried(lambda: client.create_job(job_hash))
        self._expected[job_hash] = number, hashlib.sha256(content.encode()).hexdigest()

    def _all_finished(self) -> bool:
        jobs = dict(self._watch.jobs)
        return jobs.keys() >= self._expected.keys() and all(job.finished for job in jobs.values())

    # Faults -------------------------------------------------------------------------------------------------------

    def _begin_fault(self) -> None:
        faults = self._report.faults
        # Each moment comes once before anything else, so that even a short storm covers all of them.
        name = self._chance.choice(
            [name for name in faults if name in MOMENTS and not self._report.done[name]] or faults
        )
        if CONTAINER_FAULTS[name](self):
            self._report.done[name] += 1

    def _end_faults(self, now: float) -> None:
        """End the faults that are due, and restart workers that could not start because of a fault."""
        for worker in self._workers:
            worker.restart_if_ended()
        due = [undo for at, undo in self._ahead if at <= now]
        self._ahead = [(at, undo) for at, undo in self._ahead if at > now]
        for undo in due:
            undo()

    def _idle_worker(self) -> FleetWorker | None:
        """A worker without a fault in progress."""
        left = [worker for worker in self._workers if not worker.busy]
        return self._chance.choice(left) if left else None

    def _later(self, worker: FleetWorker, seconds: float, undo: Callable[[], None]) -> None:
        worker.busy = True

        def end() -> None:
            undo()
            worker.busy = False

        self._ahead.append((time.monotonic() + seconds, end))

    def _kill(self) -> bool:
        worker = self._idle_worker()
        if worker is not None:
            worker.kill()
            # The new process needs time to start.
            self._later(worker, self._chance.uniform(2, 5), lambda: None)
        return worker is not None

    def _kill_on_request(self, moment: str) -> bool:
        worker = self._idle_worker()
        if worker is not None:
            counted = partial(self._report.done.update, [moment])
            worker.kill_on_request(MOMENTS[moment], self._chance.uniform(0, REQUEST_SECONDS), counted)
            self._later(worker, self._chance.uniform(2, 5), worker.cancel_kill)
        return False

    def _freeze(self) -> bool:
        worker = self._idle_worker()
        if worker is not None:
            seconds = LEASE_SECONDS + self._chance.uniform(0.5, 3)
            worker.freeze()
            # In a thread: the worker may hold the database's lock, for which the thread of the storm then waits.
            threading.Timer(seconds, worker.thaw).start()
            self._later(worker, seconds + 0.1, lambda: None)
        return worker is not None

    def _cut(self) -> bool:
        worker = self._idle_worker()
        if worker is None or not worker.proxies.by_variable:
            return False
        worker.proxies.cut()
        self._later(worker, self._chance.uniform(0.5, LEASE_SECONDS + 3), worker.proxies.restore)
        return True

    def _stall(self) -> bool:
        worker = self._idle_worker()
        if worker is None or not worker.proxies.by_variable:
            return False
        worker.proxies.stall()
        self._later(worker, self._chance.uniform(0.5, LEASE_SECONDS + 3), worker.proxies.restore)
        return True

    def _duplicate(self) -> bool:
        known = sorted(self._watch.jobs)
        for job_hash in self._chance.sample(known, min(DUPLICATES, len(known))):
            self._here.jobs.queue.publish(self._here.jobs.pools[0].name, job_hash)
        return bool(known)

    def _kill_server(self) -> bool:
        server = self._stack.pid_of("functions.serve") if time.monotonic() > self._server_rests_until else None
        if server is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(server, signal.SIGKILL)
        self._server_rests_until = time.monotonic() + SERVER_REST_SECONDS
        return True


FAULTS: dict[str, Callable[[_Storm], bool]] = {
    "killed": _Storm._kill,
    "frozen": _Storm._freeze,
    "cut off": _Storm._cut,
    "stalled": _Storm._stall,
    "duplicated": _Storm._duplicate,
    "server killed": _Storm._kill_server,
}

MOMENTS = {"killed creating": b"/containers/create", "killed starting": b"/start HTTP", "killed removing": b"DELETE /"}
"""Moments at which a worker is killed, with part of the request to the Docker Engine that is then in flight."""

CONTAINER_FAULTS = FAULTS | {moment: partial(_Storm._kill_on_request, moment=moment) for moment in MOMENTS}


def _retried(action: Callable[[], str | JobInfo]) -> str:
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            found = action()
        except CloudExecutorError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return found if isinstance(found, str) else found.hash
