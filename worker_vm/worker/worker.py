"""A worker: slots that take deliveries of one pool, until the worker is stopped or has been idle for too long."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from datetime import timedelta

from cloud_executor.delays import delays
from cloud_executor.errors import Unavailable
from cloud_executor.json_logging import logged_with
from cloud_executor.model.access.owner import id_in
from cloud_executor.ports import Delivery, JobQueue, Subscription
from worker_vm.worker.heartbeat import Heartbeat
from worker_vm.worker.job_runner import JobRunner
from worker_vm.worker.label_jobs import acquire_labels
from worker_vm.worker.retry import FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS
from worker_vm.worker.slots import Slots

logger = logging.getLogger(__name__)

POLL_SECONDS = 30.0
"""Time that a slot waits for a delivery before it polls again, in seconds."""

STUCK_SECONDS = 3 * POLL_SECONDS
"""Time after which a slot that still polls is considered stuck, in seconds."""

SILENT_SECONDS = 120.0
"""Time without a heartbeat after which the worker is unhealthy, in seconds. It exceeds leases and storage timeouts."""

STOP_SECONDS = 4.5
"""Default time for a stop, in seconds."""

COUNT_SECONDS = 60.0
"""Interval between log records with the number of busy slots, in seconds."""

IDLE_CHECK_SECONDS = 1.0
"""Interval between two checks of whether the worker is idle, in seconds."""


@dataclass(frozen=True, slots=True)
class Departure:
    """How a worker that has been idle for too long gives up its machine."""

    idle_seconds: float
    leave: Callable[[], bool]
    """Gives up the machine. If it returns False or raises, the worker continues, and tries again later."""

    @classmethod
    def end_after(cls, idle: timedelta | None) -> Departure | None:
        """The worker just ends. None without an idle time: it stays."""
        return None if idle is None else cls(idle.total_seconds(), lambda: True)


class Worker:
    """A worker, whose `run` can be called once."""

    def __init__(
        self,
        queue: JobQueue,
        pool: str,
        slots: int,
        runner: JobRunner,
        heartbeat: Heartbeat,
        worker_id: str,
        departure: Departure | None = None,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        """`stop_seconds` is the time that the slots have to interrupt their commands and give their jobs back."""
        self._queue = queue
        self._pool = pool
        self._slots = Slots(slots)
        self._runner = runner
        self._heartbeat = heartbeat
        self._worker_id = worker_id
        self._departure = departure
        self._stop_seconds = stop_seconds
        self._stopping = runner.stopping
        self._faults = runner.faults

    def run(self) -> bool:
        """Work until `stopping` is set, or the worker leaves. Returns whether all slots have ended.

        Raises Unavailable if the worker cannot start.
        """
        self._heartbeat.start()
        try:
            with nullcontext() if self._runner.time_jumps is None else self._runner.time_jumps.watched():
                self._acquire_labels()
                while True:
                    all_ended = self._take_deliveries()
                    if not all_ended or self._stopping.is_set():
                        return all_ended
                    if self._faults.current is not None:
                        self._faults.wait(self._stopping)
                    elif self._left():
                        return True
                    self._slots.open()
        finally:
            self._heartbeat.stop()

    def unhealthy_reason(self) -> str | None:
        """Why the worker must be replaced, as a sentence; None if it is healthy."""
        fault = self._faults.current
        if fault is not None and self._slots.busy == 0:
            return fault
        polling = self._slots.longest_polling()
        if polling is not None and polling[1] > STUCK_SECONDS:
            return f"Slot {polling[0]} has been polling for a job for {polling[1]:.0f} seconds without a response."
        if self._heartbeat.silent_seconds > SILENT_SECONDS:
            return f"The heartbeat has been silent for {self._heartbeat.silent_seconds:.0f} seconds."
        return None

    def _acquire_labels(self) -> None:
        """Run the label jobs. All slots count as busy: the worker must know its labels before it takes a job."""
        with ExitStack() as busy:
            for slot in range(1, self._slots.count + 1):
                busy.enter_context(self._slots.working(slot))
            for label in acquire_labels(self._runner):
                self._heartbeat.offer([label])

    def _take_deliveries(self) -> bool:
        """Take deliveries until the worker stops or is idle. Returns whether all slots have ended."""
        with self._queue.subscribe(self._pool, self._slots.count) as subscription:
            threads = [
                threading.Thread(target=self._slot, args=(number, subscription), name=f"slot {number}", daemon=True)
                for number in range(1, self._slots.count + 1)
            ]
            logger.info("worker started", extra=self._fields("start") | self._counts())
            for thread in threads:
                thread.start()
            self._watch()
            self._slots.close()
            stopping = self._stopping.is_set()
            if stopping:
                logger.info("worker stopping", extra=self._fields("stop"))
            subscription.close()
            if stopping:
                self._heartbeat.release_all()
            end = time.monotonic() + (self._stop_seconds if stopping else POLL_SECONDS)
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))
            return not any(thread.is_alive() for thread in threads)

    def _watch(self) -> None:
        """Wait until the worker must stop, or is idle and its slots are closed."""
        count_at = time.monotonic() + COUNT_SECONDS
        while not self._stopping.wait(IDLE_CHECK_SECONDS):
            if self._faults.current is not None and self._slots.close_if_idle(0):
                return
            if self._departure is not None and self._slots.close_if_idle(self._departure.idle_seconds):
                return
            if time.monotonic() >= count_at:
                count_at += COUNT_SECONDS
                logger.info("slots counted", extra=self._fields("slots") | self._counts())

    def _left(self) -> bool:
        """Give up the machine, unless a delivery arrived meanwhile. Returns False if the worker must continue."""
        if self._departure is None or self._slots.refused:
            return False
        try:
            left = self._departure.leave()
        except Exception:
            logger.exception("idle worker cannot leave; it continues", extra=self._fields("leave"))
            return False
        if left:
            logger.info("idle worker leaves", extra=self._fields("leave"))
        return left

    def _slot(self, number: int, subscription: Subscription) -> None:
        retry_delays = delays(FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS)
        while not self._slots.closed.is_set():
            # No exception may end this thread before the worker ends.
            try:
                self._slots.polls(number)
                if not self._may_work(number):
                    self._slots.closed.wait(IDLE_CHECK_SECONDS)
                    continue
                delivery = subscription.next(POLL_SECONDS)
                if delivery is not None:
                    self._handle(number, delivery)
                retry_delays = delays(FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS)
                continue
            except Unavailable:
                logger.warning("cannot reach the storage", extra=self._fields("slot"), exc_info=True)
            except Exception as error:
                self._faults.note_cause(error)
                logger.exception("slot failed", extra=self._fields("slot"))
            self._slots.closed.wait(next(retry_delays))

    def _handle(self, slot: int, delivery: Delivery) -> None:
        with logged_with(job_hash=id_in(delivery.job_hash)), self._slots.working(slot) as taken:
            # Something may have happened while this slot waited for the delivery.
            if taken and self._may_work(slot):
                self._runner.run(delivery)
            else:
                delivery.nack()

    def _may_work(self, slot: int) -> bool:
        """Whether the machine has what the slot needs. One slot stops for each disk that is lost, the first ones first.

        The last slot does not stop: it finds that no disk is left, which is a fault of the machine.
        """
        return self._faults.current is None and slot > min(self._runner.work.lost_disks, self._slots.count - 1)

    def _counts(self) -> dict[str, object]:
        return {"pool": self._pool, "slots": self._slots.count, "busy": self._slots.busy}

    def _fields(self, action: str) -> dict[str, object]:
        return {"action": action, "worker_id": self._worker_id}
