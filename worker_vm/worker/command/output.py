"""Send standard output in segments while the command runs (docs/protocol.md: Output while the command runs).

Segments are read back from the file that contains the output, so a slow storage neither blocks the command nor fills
the memory.
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
"""Maximum output in one segment, in bytes. Bytes that are not UTF-8 take three times as much in the segment."""

SEGMENT_RETRY_SECONDS = 30.0
"""Time limit for storing one segment, in seconds. It is short because the job's logs contain all output, too."""


class OutputSender:
    """Posts what is added to a file as numbered segments, in order, one at a time, in a thread."""

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
        """`post` stores the segment with this number. Numbers continue after the last one in the job's document."""
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
        """Note that this chunk was added to the file."""
        with self._changed:
            self._written_to += len(chunk)
            # Part of a line counts as a line.
            self._lines += len(chunk.splitlines())
            if self._segment_lines is not None and self._lines >= self._segment_lines:
                self._changed.notify()

    def finish(self) -> str | None:
        """Send the rest. If not all output could be sent, return why, as a sentence."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()
        return self._error

    def abandon(self) -> None:
        """Stop sending, because the job goes to another worker."""
        self._abandoned = True
        self.finish()

    def _run(self) -> None:
        try:
            while self._send_to(self._wait()):
                pass
        except CloudExecutorError as error:
            logger.warning("cannot store output", extra=self._attempt.fields("output"), exc_info=True)
            self._error = f"Part of the output could not be stored while the command ran: {error}"
        except Exception:
            logger.exception("cannot store output", extra=self._attempt.fields("output"))
            self._error = (
                "Part of the output could not be stored while the command ran; the job's logs contain all of it."
            )

    def _wait(self) -> tuple[int, bool]:
        """Wait until output must be sent. Returns up to which byte, and whether that is all output."""
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
        """Send the output up to a position in the file. Returns whether more may follow."""
        end, is_all = target
        while self._read_to < end:
            chunk = os.pread(self._file, min(SEGMENT_BYTES, end - self._read_to), self._read_to)
            if not chunk:
                break  # The command has truncated its own output.
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
