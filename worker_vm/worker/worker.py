"""A worker: slots that take deliveries of one pool, until it is told to stop."""

from __future__ import annotations

import logging
import threading
import time

from cloud_executor.model.errors import Unavailable
from cloud_executor.ports import JobQueue, Subscription
from worker_vm.worker.heartbeat import Heartbeat
from worker_vm.worker.patience import FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS
from worker_vm.worker.run_job import JobRunner

logger = logging.getLogger(__name__)

ASK_SECONDS = 30.0
"""how long a slot waits for a delivery before it asks again"""

STOP_SECONDS = 4.5
"""how long the slots have to end: to interrupt their commands, and to give their jobs back"""


class Worker:
    """`run` it once."""

    def __init__(
        self, queue: JobQueue, pool: str, slots: int, runner: JobRunner, heartbeat: Heartbeat, worker_id: str
    ) -> None:
        self._queue = queue
        self._pool = pool
        self._slots = slots
        self._runner = runner
        self._heartbeat = heartbeat
        self._worker_id = worker_id
        self._stopping = runner.stopping

    def run(self) -> bool:
        """Work until `stopping` is set; whether all slots have ended then. Raises Unavailable if it cannot begin."""
        self._heartbeat.start()
        try:
            with self._queue.subscribe(self._pool, self._slots) as subscription:
                slots = [
                    threading.Thread(target=self._slot, args=(subscription,), name=f"slot {number}", daemon=True)
                    for number in range(1, self._slots + 1)
                ]
                for slot in slots:
                    slot.start()
                logger.info("worker started", extra=self._fields("start") | {"pool": self._pool, "slots": self._slots})
                self._stopping.wait()
                logger.info("worker stops", extra=self._fields("stop"))
                subscription.close()
                self._heartbeat.release_all()
                end = time.monotonic() + STOP_SECONDS
                for slot in slots:
                    slot.join(max(0.0, end - time.monotonic()))
                return not any(slot.is_alive() for slot in slots)
        finally:
            self._heartbeat.stop()

    def _slot(self, subscription: Subscription) -> None:
        delay = FIRST_DELAY_SECONDS
        while not self._stopping.is_set():
            # Nothing may end this thread but the end of the worker.
            try:
                delivery = subscription.next(ASK_SECONDS)
                if delivery is not None:
                    self._runner.run(delivery)
                delay = FIRST_DELAY_SECONDS
                continue
            except Unavailable:
                logger.warning("storage cannot be reached", extra=self._fields("slot"), exc_info=True)
            except Exception:
                logger.exception("slot failed", extra=self._fields("slot"))
            self._stopping.wait(delay)
            delay = min(2 * delay, LONGEST_DELAY_SECONDS)

    def _fields(self, action: str) -> dict[str, object]:
        return {"action": action, "worker_id": self._worker_id}
