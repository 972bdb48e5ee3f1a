"""Fields of jobs as short strings."""

from __future__ import annotations

from datetime import UTC, datetime

from cloud_executor.client.job_info import JobInfo

COLUMNS = ("job", "status", "created", "run", "name", "worker")
"""Columns of a list of jobs."""

NARROW = 100
"""Width of a terminal, in columns, below which the list has no workers."""


def job_row(job: JobInfo, *, short: bool) -> tuple[str, ...]:
    """The cells of a job. `short` shortens them for a terminal."""
    created = job.create_time or ""
    return (
        job.hash,
        job.status,
        _local(created) if short else created,
        run_time(job),
        job.name or "",
        job.worker or "",
    )


def run_time(job: JobInfo) -> str:
    """How long the command ran, or has run so far; empty if neither is known."""
    if (seconds := job.durations.get("run")) is not None:
        return format_seconds(float(seconds))
    started, ended = _parsed(job.start_time), _parsed(job.finish_time)
    if started is None:
        return ""
    return format_seconds(max(0.0, ((ended or datetime.now(UTC)) - started).total_seconds()))


def format_seconds(seconds: float) -> str:
    """A duration in its two largest units."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def format_bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def job_details(job: JobInfo) -> list[tuple[str, str]]:
    """The fields of a job that have values, with their names."""
    durations = ", ".join(f"{step} {format_seconds(float(seconds))}" for step, seconds in job.durations.items())
    labels = f" with the labels {', '.join(job.waiting_for)}" if job.waiting_for else ""
    waiting = job.waiting_note if job.waiting_for is None else f"an external worker{labels}"
    found = (
        ("job", job.hash),
        ("name", job.name),
        ("status", f"{job.status}, canceling" if job.cancel_requested and not job.finished else job.status),
        ("error", job.error),
        ("waiting for" if job.waiting_for is not None else "waiting", waiting),
        ("exit code", None if job.exit_code is None else str(job.exit_code)),
        ("worker", job.worker),
        ("labels", ", ".join(job.labels)),
        ("tags", ", ".join(job.tags)),
        ("created", job.create_time),
        ("started", job.start_time),
        ("finished", job.finish_time),
        ("durations", durations),
        ("attempt", str(job.attempt) if job.attempt > 1 else None),
        ("peak memory", None if job.peak_memory_mib is None else f"{job.peak_memory_mib} MiB"),
        ("results", ", ".join(f"{name} {blob}" for name, blob in job.result_hashes.items())),
        *(("warning", warning) for warning in job.warnings),
    )
    return [(name, value) for name, value in found if value]


def _parsed(time: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(time) if time else None
    except ValueError:
        return None


def _local(time: str) -> str:
    found = _parsed(time)
    return time if found is None else found.astimezone().strftime("%m-%d %H:%M:%S")
