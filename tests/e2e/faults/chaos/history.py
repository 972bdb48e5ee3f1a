"""The recorded history of a run, and the checks of what must hold in it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Upload:
    """A client's upload of one blob."""

    digest: str
    """Hash of the bytes that were sent."""
    begin: float
    end: float
    blob: str | None
    """Hash that the server returned; None if the upload was not acknowledged."""


@dataclass(frozen=True)
class Create:
    """A client's request to create a job."""

    job: str
    begin: float
    end: float
    acknowledged: bool


@dataclass(frozen=True)
class Read:
    """A download that was answered: with the whole content, or with 404."""

    blob: str
    begin: float
    end: float
    digest: str | None
    """Hash of the received bytes; None if the blob was not found."""


@dataclass(frozen=True)
class State:
    """What a reader sees of a job."""

    attempt: int
    worker: str | None
    outcome: str | None
    """The whole outcome, including the hashes of the results; None while the job has not finished."""


@dataclass(frozen=True)
class Look:
    """A read of a job's state."""

    job: str
    begin: float
    end: float
    state: State | None
    """None if the job was not found."""


@dataclass(frozen=True)
class Result:
    """The result of a finished job, read at the end."""

    job: str
    found: str | None
    expected: str


@dataclass
class History:
    """Everything that clients and observers saw. Times are in seconds of one clock."""

    uploads: list[Upload] = field(default_factory=list)
    creates: list[Create] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    runs: dict[str, int] = field(default_factory=dict)
    """Number of times that each job's command was started."""


@dataclass
class Findings:
    """Violations, each as one sentence."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unwritten: list[str] = field(default_factory=list)
    """Reads of data that nobody wrote."""

    def all(self) -> list[str]:
        return [*self.lost, *self.doubled, *self.unwritten]


SUCCESS = "SUCCESS"
"""Beginning of the only outcome that a job of these runs can have: a fault must not make it fail."""


def check(history: History) -> Findings:
    """Find violations. Requests that overlap in time may have taken effect in either order."""
    findings = Findings()
    _check_blobs(history, findings)
    _check_jobs(history, findings)
    for result in history.results:
        if result.found is None:
            findings.lost.append(f"The result of the job {result.job} cannot be read.")
        elif result.found != result.expected:
            findings.unwritten.append(f"The job {result.job} has a result that its command did not write.")
    return findings


def _check_blobs(history: History, findings: Findings) -> None:
    acknowledged = {upload.blob: upload for upload in history.uploads if upload.blob is not None}
    read = {found.blob for found in history.reads if found.digest is not None}
    for blob, upload in acknowledged.items():
        if blob not in read:
            findings.lost.append(f"The acknowledged blob {blob} was never read.")
        for found in history.reads:
            if found.blob == blob and found.digest is None and found.begin >= upload.end:
                findings.lost.append(f"The acknowledged blob {blob} was not found.")
    for found in history.reads:
        if found.digest is None:
            continue
        source = acknowledged.get(found.blob)
        if source is None or source.begin > found.end or source.digest != found.digest:
            findings.unwritten.append(f"The blob {found.blob} has content that nobody uploaded under this hash.")


def _check_jobs(history: History, findings: Findings) -> None:
    created: dict[str, float] = {}
    requested = {create.job: create.begin for create in reversed(history.creates)}
    for create in history.creates:
        if create.acknowledged:
            created[create.job] = min(create.end, created.get(create.job, create.end))
    looks: defaultdict[str, list[Look]] = defaultdict(list)
    for look in history.looks:
        looks[look.job].append(look)
    for job, seen in looks.items():
        if job not in requested:
            if any(look.state is not None for look in seen):
                findings.unwritten.append(f"The job {job} exists, but nobody created it.")
        elif any(look.state is not None and look.end < requested[job] for look in seen):
            findings.unwritten.append(f"The job {job} existed before its creation.")
    for job, since in created.items():
        _check_job(job, since, sorted(looks[job], key=lambda look: look.begin), history.runs.get(job), findings)


def _check_job(job: str, created: float, looks: list[Look], runs: int | None, findings: Findings) -> None:
    states = [look.state for look in looks if look.state is not None]
    if any(look.state is None and look.begin >= created for look in looks):
        findings.lost.append(f"The acknowledged job {job} was not found.")
    outcomes = {state.outcome for state in states if state.outcome is not None}
    if not outcomes:
        findings.lost.append(f"The acknowledged job {job} did not end.")
    for outcome in sorted(outcomes):
        if not outcome.startswith(SUCCESS):
            findings.lost.append(f"The job {job} failed: {outcome}.")
    if len(outcomes) > 1:
        findings.doubled.append(f"The job {job} has several outcomes.")
    for reason in sorted(_backward(looks)):
        findings.doubled.append(f"The job {job} {reason}.")
    if runs is not None and outcomes:
        if runs == 0:
            findings.lost.append(f"The job {job} ended, but its command never ran.")
        if runs > max(state.attempt for state in states):
            findings.doubled.append(f"The command of the job {job} ran more often than it had attempts.")


def _backward(looks: list[Look]) -> set[str]:
    """What is wrong between each look and those that began after its end."""
    found = set()
    for number, earlier in enumerate(looks):
        for later in looks[number + 1 :]:
            if later.begin < earlier.end or earlier.state is None or later.state is None:
                continue
            if earlier.state.outcome is not None and later.state.outcome is None:
                found.add("ran again after its end")
            if later.state.attempt < earlier.state.attempt:
                found.add("went back to an earlier attempt")
            same = later.state.attempt == earlier.state.attempt
            if same and None not in (workers := {earlier.state.worker, later.state.worker}) and len(workers) > 1:
                found.add("had two workers in one attempt")
    return found
