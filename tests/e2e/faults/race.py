"""Claim all jobs that a file names, and end those that were got: `race.py HASHES WORKER`; prints them."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cloud_executor.composition import open_jobs
from cloud_executor.model.job import NotClaimable, Outcome, Status
from cloud_executor.settings import Settings

THREADS = 4


def main() -> None:
    hashes, worker = Path(sys.argv[1]).read_text().split(), sys.argv[2]
    jobs = open_jobs(Settings.from_env(os.environ))

    def claim(job_hash: str) -> bool:
        try:
            job = jobs.attempts.claim(job_hash, worker)
        except NotClaimable:
            return False
        jobs.attempts.finish(job_hash, job.attempt, Outcome(Status.SUCCESS, error=f"by {worker}"))
        return True

    # The other one is to begin at the same moment.
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    with ThreadPoolExecutor(THREADS) as threads:
        got = [job_hash for job_hash, mine in zip(hashes, threads.map(claim, hashes), strict=True) if mine]
    sys.stdout.write("".join(f"{job_hash}\n" for job_hash in got))


if __name__ == "__main__":
    main()
