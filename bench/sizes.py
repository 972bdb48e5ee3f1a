"""How much of everything the benchmark measures."""

from __future__ import annotations

from dataclasses import dataclass

CONNECTIONS = 16
"""Number of kept-alive connections that send small requests concurrently."""

SMALL_BYTES = 4096
"""Size of a small upload, and of a small file on the disk, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Sizes and counts; the defaults are those of the full benchmark."""

    idle_wait_seconds: int = 20
    """Longest wait for an idle machine, in seconds."""
    seconds: int = 3
    """Duration of each run of small requests, in seconds."""
    large_mib: int = 512
    zip_files: int = 1000
    zip_file_bytes: int = 16384
    zip_downloads: int = 5
    zip_large_mib: int = 200
    """Size of each of the three files in the zip of large files, in MiB."""
    metadata: int = 1000
    """Number of blobs whose metadata is requested."""
    latency_jobs: int = 40
    slots: int = 2
    throughput_jobs: int = 200
    small_results: int = 3000
    """Number of small files that one job leaves."""
    few: int = 1000
    """Number of stored jobs and blobs at the start of the growth comparison."""
    many: int = 50000
    """Number of stored jobs and blobs at the end of the growth comparison."""
    growth_requests: int = 500
    synced_files: int = 1000
    processes: int = 100

    def description(self) -> str:
        """The legend of the table."""
        return (
            f"Large file: {self.large_mib} MiB."
            f" Zip of small files: {self.zip_files:,} files of {self.zip_file_bytes // 1024} KiB."
            f" Zip of 3 files: {self.zip_large_mib} MiB each."
            f" Few and many jobs and blobs: {self.few:,} and {self.many:,}."
            f" Small requests use {CONNECTIONS} concurrent connections."
        )


QUICK = Sizes(
    idle_wait_seconds=0,
    seconds=1,
    large_mib=8,
    zip_files=20,
    zip_downloads=1,
    zip_large_mib=2,
    metadata=20,
    latency_jobs=3,
    throughput_jobs=6,
    small_results=20,
    few=50,
    many=200,
    growth_requests=50,
    synced_files=50,
    processes=10,
)
"""Sizes that only check that everything works; the resulting figures are meaningless."""
