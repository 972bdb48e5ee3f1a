"""A worker: slots that take deliveries of one pool, until it is told to stop, or has had nothing to do for long."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from cloud_executor.delays import delays
from cloud_executor.errors import Unavailable
from cloud_executor.json_logging import logged_with
from cloud_executor.ports import Delivery, JobQueue, Subscription
from worker_vm.worker.heartbeat import Heartbeat
from worker_vm.worker.job_runner import JobRunner
from worker_vm.worker.label_jobs import acquire_labels
from worker_vm.worker.retry import FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS
from worker_vm.worker.slots import Slots

logger = logging.getLogger(__name__)

POLL_SECONDS = 30.0
"""how long a slot waits for a delivery before it asks again"""

STUCK_SECONDS = 3 * POLL_SECONDS
"""who has not come back from asking by then never will"""

SILENT_SECONDS = 120.0
"""without a heartbeat: every lease has ended by then, and one call to the storage has too"""

STOP_SECONDS = 4.5
"""how long the slots have to end: to interrupt their commands, and to give their jobs back"""

COUNT_SECONDS = 60.0
"""how often the log tells how many slots work"""

IDLE_CHECK_SECONDS = 1.0
"""how often a worker looks whether it is idle"""


@dataclass(frozen=True, slots=True)
class Departure:
    """That a worker leaves when it has had nothing to do for long."""

    idle_seconds: float
    leave: Callable[[], bool]
    """gives up the machine; if it may not, or that raises, the worker goes on, and tries again after as long a time"""


class Worker:
    """`run` it once."""

    def __init__(
        self,
        queue: JobQueue,
        pool: str,
        slots: int,
        runner: JobRunner,
        heartbeat: Heartbeat,
        worker_id: str,
        departure: Departure | None = None,
    ) -> None:
        self._queue = queue
        self._pool = pool
        self._slots = Slots(slots)
        self._runner = runner
        self._heartbeat = heartbeat
        self._worker_id = worker_id
        self._departure = departure
        self._stopping = runner.stopping

    def run(self) -> bool:
        """Work until `stopping` is set, or the worker leaves; whether all slots have ended then.

        Raises Unavailable if it cannot begin.
        """
        self._heartbeat.start()
        try:
            self._acquire_labels()
            while True:
                all_ended = self._take_deliveries()
                if not all_ended or self._stopping.is_set() or self._left():
                    return all_ended
                self._slots.open()
        finally:
            self._heartbeat.stop()

    def fault(self) -> str | None:
        """Why the worker is to be replaced, in a sentence; None: it works."""
        asking = self._slots.longest_polling()
        if asking is not None and asking[1] > STUCK_SECONDS:
            return f"Slot {asking[0]} has not come back from asking for a job for {asking[1]:.0f} seconds."
        if self._heartbeat.silent_seconds > SILENT_SECONDS:
            return f"The heartbeat has been silent for {self._heartbeat.silent_seconds:.0f} seconds."
        return None

    def _acquire_labels(self) -> None:
        """In all slots: no job may come before the worker knows which ones it can run."""
        with ExitStack() as busy:
            for slot in range(1, self._slots.count + 1):
                busy.enter_context(self._slots.working(slot))
            for label in acquire_labels(self._runner):
                self._heartbeat.offer([label])

    def _take_deliveries(self) -> bool:
        """Until the worker is to stop, or is idle; whether all slots have ended."""
        with self._queue.subscribe(self._pool, self._slots.count) as subscription:
            threads = [
                threading.Thread(target=self._slot, args=(number, subscription), name=f"slot {number}", daemon=True)
                for number in range(1, self._slots.count + 1)
            ]
            for thread in threads:
                thread.start()
            logger.info("worker started", extra=self._fields("start") | self._counts())
            self._watch()
            self._slots.close()
            stopping = self._stopping.is_set()
            if stopping:
                logger.info("worker stops", extra=self._fields("stop"))
            subscription.close()
            if stopping:
                self._heartbeat.release_all()
            end = time.monotonic() + (STOP_SECONDS if stopping else POLL_SECONDS)
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))
            return not any(thread.is_alive() for thread in threads)

    def _watch(self) -> None:
        """Until the worker is to stop, or is idle and its slots are closed."""
        count_at = time.monotonic() + COUNT_SECONDS
        while not self._stopping.wait(IDLE_CHECK_SECONDS):
            if self._departure is not None and self._slots.close_if_idle(self._departure.idle_seconds):
                return
            if time.monotonic() >= count_at:
                count_at += COUNT_SECONDS
                logger.info("slots counted", extra=self._fields("slots") | self._counts())

    def _left(self) -> bool:
        """Give up the machine, unless a delivery came meanwhile; False: it has to go on."""
        if self._departure is None or self._slots.refused:
            return False
        try:
            left = self._departure.leave()
        except Exception:
            logger.exception("worker cannot leave, and goes on", extra=self._fields("leave"))
            return False
        if left:
            logger.info("worker was idle, and leaves", extra=self._fields("leave"))
        return left

    def _slot(self, number: int, subscription: Subscription) -> None:
        retry_delays = delays(FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS)
        while not self._slots.closed.is_set():
            # Nothing may end this thread but the end of the worker.
            try:
                self._slots.polls(number)
                delivery = subscription.next(POLL_SECONDS)
                if delivery is not None:
                    self._handle(number, delivery)
                retry_delays = delays(FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS)
                continue
            except Unavailable:
                logger.warning("storage cannot be reached", extra=self._fields("slot"), exc_info=True)
            except Exception:
                logger.exception("slot failed", extra=self._fields("slot"))
            self._slots.closed.wait(next(retry_delays))

    def _handle(self, slot: int, delivery: Delivery) -> None:
        with logged_with(job_hash=delivery.job_hash), self._slots.working(slot) as taken:
            if taken:
                self._runner.run(delivery)
            else:
                delivery.nack()

    def _counts(self) -> dict[str, object]:
        return {"pool": self._pool, "slots": self._slots.count, "busy": self._slots.busy}

    def _fields(self, action: str) -> dict[str, object]:
        return {"action": action, "worker_id": self._worker_id}
