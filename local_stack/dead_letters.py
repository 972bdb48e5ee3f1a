"""Dead letters: a job whose message was delivered too often goes to the sweep. In the cloud, a function does this."""

from __future__ import annotations

import logging
import threading

from cloud_executor.jobs.pools.dead_letters import DeadLetters
from cloud_executor.model.access.owner import id_in
from cloud_executor.model.jobs.pool import DEAD_LETTER
from cloud_executor.ports import Delivery, JobNotFound, JobQueue

logger = logging.getLogger(__name__)

PULL_SECONDS = 0.5
"""Longest wait for a dead letter, in seconds. A stop takes effect afterwards."""

PAUSE_SECONDS = 1.0
"""Pause after an error, in seconds."""

STOP_SECONDS = 5.0


class DeadLetterReader:
    """A thread of the supervisor, from `start` to `stop`."""

    def __init__(self, dead_letters: DeadLetters, queue: JobQueue) -> None:
        self._dead_letters = dead_letters
        self._queue = queue
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dead letters", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        with self._queue.subscribe(DEAD_LETTER, 1) as letters:
            while not self._stopping.is_set():
                # No error may end this thread. An unacknowledged message is delivered again.
                try:
                    letter = letters.next(PULL_SECONDS)
                    if letter is not None:
                        self._record(letter)
                except Exception:
                    logger.warning("recording a dead letter failed", extra={"action": "dead_letter"}, exc_info=True)
                    self._stopping.wait(PAUSE_SECONDS)

    def _record(self, letter: Delivery) -> None:
        try:
            self._dead_letters.give_up(letter.job_hash)
        except JobNotFound:
            fields = {"action": "dead_letter", "job_hash": id_in(letter.job_hash)}
            logger.warning("the job of a dead letter does not exist", extra=fields)
        letter.ack()
