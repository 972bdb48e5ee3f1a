"""How much of everything is measured."""

from __future__ import annotations

from dataclasses import dataclass

CONNECTIONS = 16
"""kept-alive connections that send small requests at once"""

SMALL_BYTES = 4096
"""of a small upload, and of a small file on the disk"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The defaults are the full benchmark."""

    calm_seconds: int = 20  # the longest wait for a calm machine
    seconds: int = 3  # of each stretch of small requests
    large_mib: int = 512
    zip_files: int = 1000
    zip_file_bytes: int = 16384
    zip_downloads: int = 5
    zip_large_mib: int = 200  # each of three
    metadata: int = 1000  # blobs whose metadata is asked for
    latency_jobs: int = 40
    slots: int = 2
    throughput_jobs: int = 200
    few: int = 1000  # jobs and blobs stored where cost begins to grow
    many: int = 50000  # and where it must have stayed the same
    growth_requests: int = 500
    synced_files: int = 1000
    processes: int = 100

    def text(self) -> str:
        """What the words of the table stand for."""
        return (
            f"Large file: {self.large_mib} MiB."
            f" Zip of small files: {self.zip_files:,} of {self.zip_file_bytes // 1024} KiB;"
            f" of 3 files: {self.zip_large_mib} MiB each. Few and many jobs and blobs: {self.few:,} and {self.many:,}."
            f" Small requests come over {CONNECTIONS} connections at once."
        )


QUICK = Sizes(
    calm_seconds=0,
    seconds=1,
    large_mib=8,
    zip_files=20,
    zip_downloads=1,
    zip_large_mib=2,
    metadata=20,
    latency_jobs=3,
    throughput_jobs=6,
    few=50,
    many=200,
    growth_requests=50,
    synced_files=50,
    processes=10,
)
"""Only to see that everything works: such figures mean nothing."""
