"""What the function `dead_letter` does in the cloud: jobs whose messages were delivered too often have failed."""

from __future__ import annotations

import logging
import threading

from cloud_executor.jobs.dead_letters import DeadLetters
from cloud_executor.model.pool import DEAD_LETTER
from cloud_executor.ports import Delivery, JobNotFound, JobQueue

logger = logging.getLogger(__name__)

ASK_SECONDS = 0.5
"""how long a stop may take to be noticed"""

PAUSE_SECONDS = 1.0

STOP_SECONDS = 5.0


class DeadLetterReader:
    """`start` and `stop` it; runs beside the supervisor."""

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
                # Nothing may end this thread; what fails comes again.
                try:
                    letter = letters.next(ASK_SECONDS)
                    if letter is not None:
                        self._record(letter)
                except Exception:
                    logger.warning("dead letters are not recorded", extra={"action": "dead_letter"}, exc_info=True)
                    self._stopping.wait(PAUSE_SECONDS)

    def _record(self, letter: Delivery) -> None:
        try:
            self._dead_letters.give_up(letter.job_hash)
        except JobNotFound:
            fields = {"action": "dead_letter", "job_hash": letter.job_hash}
            logger.warning("a dead letter is of an unknown job", extra=fields)
        letter.ack()
