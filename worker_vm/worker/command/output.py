"""Standard output in segments while the command runs (docs/protocol.md: Output while the command runs).

What is sent is read back from the file that the output goes to, so a slow storage neither holds up the command nor
fills the memory.
"""

from __future__ import annotations

import codecs
import logging
import os
import threading
import time
from collections.abc import Callable

from cloud_executor.errors import CloudExecutorError
from worker_vm.worker.attempt import Attempt, Interruption
from worker_vm.worker.retry import retry_while_unavailable

logger = logging.getLogger(__name__)

SEGMENT_BYTES = 256 * 1024
"""of output in one segment; as UTF-8 it is at most three times as much, if none of the bytes are UTF-8"""


SEGMENT_RETRY_SECONDS = 30.0
"""how long a segment waits for the storage: all output is among the results too"""


class OutputSender:
    """Posts what comes into a file as numbered segments: one at a time, in order, by a thread of its own."""

    def __init__(
        self,
        file: int,
        post: Callable[[int, str], None],
        attempt: Attempt,
        stopping: threading.Event,
        *,
        interval_seconds: float | None,
        segment_lines: int | None,
    ) -> None:
        """`post` stores the segment with a number; numbers go on where the job's document stands."""
        self._file = file
        self._post = post
        self._attempt = attempt
        self._stopping = stopping
        self._interval_seconds = interval_seconds
        self._segment_lines = segment_lines
        last = attempt.job.output_number
        self._number = 0 if last is None else last + 1
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._read_to = 0
        self._changed = threading.Condition()
        self._written_to = 0
        self._lines = 0
        self._ending = False
        self._abandoned = False
        self._error: str | None = None
        self._thread = threading.Thread(target=self._run, name="output", daemon=True)
        self._thread.start()

    def written(self, chunk: bytes) -> None:
        """Note that this was added to the file."""
        with self._changed:
            self._written_to += len(chunk)
            # A piece of a line counts as one.
            self._lines += len(chunk.splitlines())
            if self._segment_lines is not None and self._lines >= self._segment_lines:
                self._changed.notify()

    def finish(self) -> str | None:
        """Send the rest; why not all of it could be sent, in a sentence."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()
        return self._error

    def abandon(self) -> None:
        """Send nothing any more: the job goes to another worker."""
        self._abandoned = True
        self.finish()

    def _run(self) -> None:
        try:
            while self._send_to(self._wait()):
                pass
        except CloudExecutorError as error:
            logger.warning("output was not stored", extra=self._attempt.fields("output"), exc_info=True)
            self._error = f"Part of the output could not be stored while the command ran: {error}"
        except Exception:
            logger.exception("output was not stored", extra=self._attempt.fields("output"))
            self._error = "Part of the output could not be stored while the command ran."

    def _wait(self) -> tuple[int, bool]:
        """Wait for a reason to send something: up to where, and whether that is all."""
        end = None if self._interval_seconds is None else time.monotonic() + self._interval_seconds
        with self._changed:
            while not self._ending:
                if self._segment_lines is not None and self._lines >= self._segment_lines:
                    break
                remaining = None if end is None else end - time.monotonic()
                if remaining is not None and remaining <= 0:
                    break
                self._changed.wait(remaining)
            self._lines = 0
            return self._written_to, self._ending

    def _send_to(self, target: tuple[int, bool]) -> bool:
        """Send the output up to a place in the file; whether there is more to come."""
        end, is_all = target
        while self._read_to < end:
            chunk = os.pread(self._file, min(SEGMENT_BYTES, end - self._read_to), self._read_to)
            if not chunk:
                break  # the command has cut its own output off
            self._read_to += len(chunk)
            self._send(self._decoder.decode(chunk))
        self._read_to = end
        if is_all:
            self._send(self._decoder.decode(b"", final=True))
        return not is_all

    def _send(self, text: str) -> None:
        if not text or self._abandoned or self._attempt.interruption is Interruption.LOST:
            return
        retry_while_unavailable(lambda: self._post(self._number, text), self._stopping, SEGMENT_RETRY_SECONDS)
        self._number += 1
