"""Cases for the executor API and the worker."""

from __future__ import annotations

import hashlib
import io
import json
import random
import statistics
import time
import zipfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from bench import limits
from bench.cases.blobs import CREATE_FILE, METADATA
from bench.cases.case import Api, Case, Measured, Rig, Stored, blob_hash, store_blobs
from bench.limits import Limit
from bench.load.generators import Requests, each_once, rate
from bench.servers.queues import Queue, Submit
from bench.servers.stack import OurStack, Stack
from bench.sizes import SMALL_BYTES
from bench.table import Row, Target
from bench.workspace import BenchmarkError, Workspace

CREATE = "/rest/executor/create"
INFO = "/rest/executor/info"

JOB_SECONDS = 120.0
_WAITING_POLL_SECONDS = 0.002
"""Interval between polls of a job that waits for a worker, in seconds."""
_RUNNING_POLL_SECONDS = 0.005
"""Interval between polls of a running job, in seconds."""
_FLAT = Target(1.5)


def _store_echo_job(api: Api, number: int) -> str:
    """Store a unique job and return its hash."""
    return _store_job(api, "echo", [f"job {number}"])


def _store_job(api: Api, program: str, arguments: list[str]) -> str:
    config = {"cmd": program, "args": arguments, "resultArtifacts": [{"name": "all", "resultPatterns": []}]}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("executor_config.json"), json.dumps(config))
    return blob_hash(api.post(f"{CREATE_FILE}/job.zip", packed.getvalue()))


@dataclass(frozen=True, slots=True)
class Timeline:
    """Times at which the client saw a job's states, in seconds of the monotonic clock."""

    requested: float
    created: float
    running: float
    finished: float


def _watch(api: Api, job: str) -> Timeline:
    """Create a job and poll it until it succeeds. Raises BenchmarkError if it does not."""
    requested = time.monotonic()
    status = api.post(f"{CREATE}/{job}")["status"]
    created = time.monotonic()
    running = None
    while True:
        if status != "CREATED" and running is None:
            running = time.monotonic()
        if running and status != "RUNNING":
            break
        if time.monotonic() - created > JOB_SECONDS:
            raise BenchmarkError(f"a job was still {status} after {JOB_SECONDS:.0f} s")
        time.sleep(_RUNNING_POLL_SECONDS if running else _WAITING_POLL_SECONDS)
        status = api.get(f"{INFO}/{job}")["status"]
    if status != "SUCCESS":
        raise BenchmarkError(f"a job ended with status {status}")
    return Timeline(requested, created, running, time.monotonic())


def _latency(rig: Rig) -> Measured:
    pause = random.Random(0)  # noqa: S311 - not for secrets
    count = _share(rig, rig.workspace.sizes.latency_jobs)
    while True:
        with rig.data() as data, rig.side.start(data, rig.workspace.sizes.slots) as stack:
            api = Api(stack.url)
            first, _ = _upload_and_watch(api, -1)  # the first job of a fresh worker does not count among the others
            jobs, whole = [], []
            for number in range(count):
                time.sleep(pause.uniform(0, rig.side.max_pause_seconds))
                api.get("/rest/executor/worker")  # reopens the connection if the server has closed it
                seconds, job = _upload_and_watch(api, number)
                jobs.append(job)
                whole.append(1000 * seconds)
        dispatch = [1000 * (job.running - job.created) for job in jobs]
        round_trip = [1000 * (job.finished - job.requested) for job in jobs]
        yield {
            "dispatch p50": _percentile(dispatch, 50),
            "dispatch p99": _percentile(dispatch, 99),
            "round trip p50": _percentile(round_trip, 50),
            "round trip p99": _percentile(round_trip, 99),
            "whole p50": _percentile(whole, 50),
            "whole first": 1000 * first,
        }


def _upload_and_watch(api: Api, number: int) -> tuple[float, Timeline]:
    """Run an echo job, and return the time from its upload to its end, in seconds."""
    began = time.monotonic()
    job = _watch(api, _store_echo_job(api, number))
    return job.finished - began, job


def _queue_latency(workspace: Workspace, queue: Queue) -> Measured:
    pause = random.Random(0)  # noqa: S311 - not for secrets
    count = max(2, int(workspace.sizes.latency_jobs * queue.job_share))
    while True:
        with queue.start(workspace.new_folder(queue.name), workspace.sizes.slots) as submit:
            first = _queue_seconds(submit, [-1])
            whole = []
            for number in range(count):
                time.sleep(pause.uniform(0, OurStack.max_pause_seconds))
                whole.append(1000 * _queue_seconds(submit, [number]))
        yield {"whole p50": _percentile(whole, 50), "whole first": 1000 * first}


def _queue_throughput(workspace: Workspace, queue: Queue) -> Measured:
    count = max(2, int(workspace.sizes.throughput_jobs * queue.job_share))
    while True:
        with queue.start(workspace.new_folder(queue.name), workspace.sizes.slots) as submit:
            _queue_seconds(submit, [-1])
            seconds = _queue_seconds(submit, range(count))
        yield {"whole rate": count / seconds}


def _queue_seconds(submit: Submit, numbers: Iterable[int]) -> float:
    """Submit jobs one by one, and return the time until all have finished, in seconds."""
    began = time.monotonic()
    for has_finished in [submit(number) for number in numbers]:
        while not has_finished():
            if time.monotonic() - began > 10 * JOB_SECONDS:
                raise BenchmarkError("a job of the queue did not finish")
            time.sleep(_WAITING_POLL_SECONDS)
    return time.monotonic() - began


def _throughput(rig: Rig) -> Measured:
    count = _share(rig, rig.workspace.sizes.throughput_jobs)
    while True:
        with rig.data() as data, rig.side.start(data, rig.workspace.sizes.slots) as stack:
            api = Api(stack.url)
            _watch(api, _store_echo_job(api, -1))
            jobs = [_store_echo_job(api, number) for number in range(count)]
            began = time.monotonic()
            for job in jobs:
                api.post(f"{CREATE}/{job}")
            for job in jobs:
                _wait_for_success(api, job, began + JOB_SECONDS + count)
            seconds = time.monotonic() - began
            began = time.monotonic()
            jobs = []
            for number in range(count, 2 * count):
                jobs.append(_store_echo_job(api, number))
                api.post(f"{CREATE}/{jobs[-1]}")
            for job in jobs:
                _wait_for_success(api, job, began + JOB_SECONDS + count)
            whole_seconds = time.monotonic() - began
        yield {"rate": count / seconds, "whole rate": count / whole_seconds}


def _small_results(rig: Rig) -> Measured:
    """The worker's own measurement of a job that leaves many small files; WebGME's worker makes none."""
    count = rig.workspace.sizes.small_results
    script = f"i=0; while [ $i -lt {count} ]; do i=$((i + 1)); echo result $i > $i; done"
    while True:
        with rig.data() as data, rig.side.start(data, rig.workspace.sizes.slots) as stack:
            api = Api(stack.url)
            _watch(api, _store_echo_job(api, -1))
            job = _store_job(api, "sh", ["-c", script])
            api.post(f"{CREATE}/{job}")
            _wait_for_success(api, job, time.monotonic() + JOB_SECONDS)
            durations = api.get(f"{INFO}/{job}").get("durations")
        yield {} if durations is None else {"rate": count / max(durations["archive"], 0.001)}


def _wait_for_success(api: Api, job: str, deadline: float) -> None:
    while (status := api.get(f"{INFO}/{job}")["status"]) in ("CREATED", "RUNNING"):
        if time.monotonic() > deadline:
            raise BenchmarkError(f"a job was still {status} when all jobs should have finished")
        time.sleep(0.02)
    if status != "SUCCESS":
        raise BenchmarkError(f"a job ended with status {status}")


def _share(rig: Rig, jobs: int) -> int:
    return max(2, int(jobs * rig.side.job_share))


def _percentile(values: list[float], percent: int) -> float:
    """With few values, the 99th percentile is the largest value."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


class FilledStack:
    """A stack that stores `count` blobs and as many jobs, which never run. Its methods measure calls per second."""

    def __init__(self, rig: Rig, stack: Stack, count: int) -> None:
        self._rig, self._url = rig, stack.url
        self._more = rig.workspace.sizes.growth_requests
        self._blob_count = self._job_count = 0
        blobs = self._store(count).hashes.values()
        self._create(count)
        # The same number of distinct blobs and jobs for every count, so that a cache does not make the difference.
        order = random.Random(0)  # noqa: S311 - not for secrets
        self._blobs = order.sample(list(blobs), rig.workspace.sizes.few)
        self._jobs = order.sample([_job(number) for number in range(count)], rig.workspace.sizes.few)

    def info(self) -> float:
        return self._reads(f"{INFO}/{job}" for job in self._jobs)

    def create(self) -> float:
        return self._more / self._create(self._more)

    def upload(self) -> float:
        return self._more / self._store(self._more).seconds

    def metadata(self) -> float:
        return self._reads(f"{METADATA}/{blob}" for blob in self._blobs)

    def _reads(self, paths: Iterable[str]) -> float:
        return rate(self._rig.workspace, self._url, Requests("GET", list(paths)), f"growth, {self._rig.side.name}")

    def _store(self, count: int) -> Stored:
        first, self._blob_count = self._blob_count, self._blob_count + count
        paths = [f"{CREATE_FILE}/{number}.bin" for number in range(first, self._blob_count)]
        return store_blobs(self._url, paths, SMALL_BYTES, seed=first)

    def _create(self, count: int) -> float:
        """Create jobs and return the time it took, in seconds."""
        first, self._job_count = self._job_count, self._job_count + count
        paths = [f"{CREATE}/{_job(number)}" for number in range(first, self._job_count)]
        return each_once(self._url, Requests("POST", paths)).seconds


def _job(number: int) -> str:
    return hashlib.sha1(str(number).encode(), usedforsecurity=False).hexdigest()


def _growth(rig: Rig) -> Measured:
    sizes = rig.workspace.sizes
    with ExitStack() as stacks:

        def filled(count: int) -> FilledStack:
            data = stacks.enter_context(rig.data())
            return FilledStack(rig, stacks.enter_context(rig.side.start(data, 0)), count)

        few, many = filled(sizes.few), filled(sizes.many)
        while True:
            values = {}
            for call in (FilledStack.info, FilledStack.create, FilledStack.upload, FilledStack.metadata):
                # Back to back, so that both calls see the machine in the same state.
                with_few, with_many = call(few), call(many)
                values[f"{call.__name__} growth"] = with_few / with_many
                values[f"{call.__name__} rate"] = with_many
            yield values


def _growth_rows(call: str, title: str, *bounds: Limit) -> list[Row]:
    return [
        Row(f"{call} rate", f"{title}, with many stored", f"{'uploads' if call == 'upload' else 'requests'}/s", bounds),
        Row(f"{call} growth", f"{title}, cost with many stored / with few", "x", target=_FLAT),
    ]


LATENCY = Case(
    "job-latency",
    [
        Row("dispatch p50", "create response until RUNNING, p50", "ms", (limits.SYNCED_FILE,), Target(20)),
        Row("dispatch p99", "create response until RUNNING, p99", "ms", (limits.SYNCED_FILE,)),
        Row("round trip p50", "echo job, create until SUCCESS, p50", "ms", (limits.PROCESS,), Target(60)),
        Row("round trip p99", "echo job, create until SUCCESS, p99", "ms", (limits.PROCESS,)),
        Row("whole p50", "echo job, upload until SUCCESS, p50", "ms", (limits.PROCESS,)),
        Row("whole first", "echo job, upload until SUCCESS, first after the start", "ms", (limits.PROCESS,)),
    ],
    _latency,
    _queue_latency,
)
THROUGHPUT = Case(
    "job-throughput",
    [
        Row("rate", "echo jobs with 2 slots", "jobs/s", (limits.PROCESSES,), Target(40)),
        Row("whole rate", "echo jobs with 2 slots, with their uploads", "jobs/s", (limits.PROCESSES,)),
    ],
    _throughput,
    _queue_throughput,
)
SMALL_RESULTS = Case(
    "small-results",
    [Row("rate", "new small result files of a job, stored", "files/s", (), Target(2000))],
    _small_results,
)
GROWTH = Case(
    "growth",
    [
        *_growth_rows("info", "job info", limits.STATIC_REQUESTS),
        *_growth_rows("create", "job create", limits.SYNCED_FILES),
        *_growth_rows("upload", "4 KiB upload", limits.SYNCED_FILES),
        *_growth_rows("metadata", "blob metadata", limits.STATIC_REQUESTS),
    ],
    _growth,
)
