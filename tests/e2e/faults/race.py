"""Claim all jobs listed in a file, and finish and print the jobs that were won: `race.py HASHES WORKER`."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cloud_executor.composition import open_jobs
from cloud_executor.model.jobs.job import NotClaimable, Outcome, Status
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

    # Both racers start at the same moment.
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    with ThreadPoolExecutor(THREADS) as threads:
        won = [job_hash for job_hash, mine in zip(hashes, threads.map(claim, hashes), strict=True) if mine]
    sys.stdout.write("".join(f"{job_hash}\n" for job_hash in won))


if __name__ == "__main__":
    main()
