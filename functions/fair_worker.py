"""gunicorn's threaded worker, tuned for clients that send many requests on few connections, and for slow clients.

Slow clients cannot take all threads: a thread gets a connection only when the whole head of its request has arrived,
and some threads never receive bodies.
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections import deque
from threading import BoundedSemaphore
from types import FrameType
from typing import Any

from gunicorn.workers import gthread

from functions.transport.waits import WAITS

LONGEST_REQUEST_LINE = 128 * 1024
"""Longest request line, in bytes. The parser copies the line for each piece that arrives, so it must be bounded."""

LONGEST_HEAD = 1024 * 1024
"""Number of bytes after which the parser decides about a head that has not ended; it has limits of its own."""

HEAD_SECONDS = 20.0
"""Time from the first byte of a request to the end of its head, in seconds."""

THREADS = 16
"""Number of threads per process."""

BODIES_SHARE = 3 / 8
"""Share of the threads that receive bodies at once. Half of them wait for changes, and the rest is for others."""

ACCEPT_DELAY_SECONDS = 0.0002
"""Delay before a process accepts a connection, per connection that it already has, in seconds."""

LONGEST_ACCEPT_DELAY_SECONDS = 0.002
"""Upper limit of the delay before a process accepts a connection, in seconds."""

LINGER_MILLISECONDS = 1
"""Time that a thread with no other work waits for the next request on its connection, in milliseconds."""

FIRST_BYTE_MILLISECONDS = 20
"""Time that a thread waits for the first byte on a new connection, in milliseconds."""

_PIECE = 64 * 1024
_END_OF_HEAD = b"\r\n\r\n"
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)

_DEFER = gthread._DEFER  # type: ignore[attr-defined]  # not in the stubs: the connection goes back to the poller
_WAIT = object()
"""Result of a request that waits until fewer bodies are received."""


class FairWorker(gthread.ThreadWorker):
    """The worker class of the server."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the waiting requests at once, so that the process can stop."""
        super().handle_exit(sig, frame)
        WAITS.stop()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        WAITS.stop()
        super().handle_quit(sig, frame)

    def init_process(self) -> None:
        self._bodies = BoundedSemaphore(max(1, int(self.cfg.threads * BODIES_SHARE)))
        self._waiting: deque[Any] = deque()
        super().init_process()

    def accept(self, listener: socket.socket) -> None:
        """Let a process with fewer connections accept the next one.

        Otherwise the process that wakes first accepts nearly a whole burst of connections and keeps them, so one core
        does the work of two.
        """
        time.sleep(min(self.nr_conns * ACCEPT_DELAY_SECONDS, LONGEST_ACCEPT_DELAY_SECONDS))
        super().accept(listener)

    def handle(self, conn: Any) -> Any:  # noqa: ANN401 - gunicorn has no types
        """Keep serving a connection whose next request arrives at once.

        Passing the connection to the poller and back takes as long as serving a request.
        """
        result = self._serve(conn)
        while result is True and self._next_request_arrives(conn):
            result = self._serve(conn)
        return result

    def finish_request(self, conn: Any, fs: Any) -> None:  # noqa: ANN401 - gunicorn has no types
        """Called by the main thread after `handle`."""
        if not fs.cancelled() and fs.exception() is None and fs.result() is _WAIT:
            self._waiting.append(conn)
            self._start_waiting()
        else:
            super().finish_request(conn, fs)

    def murder_pending(self) -> None:
        """Called by the main thread every second: close connections whose head takes too long."""
        now = time.monotonic()
        for conn in [conn for conn in self.pending_conns if _head_deadline(conn) <= now]:
            self.pending_conns.remove(conn)
            self.poller.unregister(conn.sock)
            self.nr_conns -= 1
            conn.close()
        super().murder_pending()

    def _serve(self, conn: Any) -> Any:  # noqa: ANN401 - gunicorn has no types
        """Serve one request, if its whole head is here."""
        try:
            conn.init()
            arrived = self._head_arrives(conn)
        except OSError:
            return False
        if not arrived:
            return _DEFER if self.alive and time.monotonic() < _head_deadline(conn) else False
        if not _awaits_body(conn):
            return self._answer(conn)
        if not getattr(conn, "admitted", False) and (self._waiting or not self._bodies.acquire(blocking=False)):
            return _WAIT
        try:
            return self._answer(conn)
        finally:
            conn.admitted = False
            self._bodies.release()
            if self._waiting:
                self.method_queue.defer(self._start_waiting)

    def _answer(self, conn: Any) -> Any:  # noqa: ANN401 - gunicorn has no types
        conn.head_deadline = None
        conn.data_ready = True
        return super().handle(conn)

    def _start_waiting(self) -> None:
        """Called by the main thread: start waiting requests as long as they may send their bodies."""
        while self._waiting and self._bodies.acquire(blocking=False):
            conn = self._waiting.popleft()
            conn.admitted = True
            self.enqueue_req(conn)

    def _head_arrives(self, conn: Any) -> bool:  # noqa: ANN401 - gunicorn has no types
        """Read what has arrived. Returns whether the parser need not wait for the rest of the head."""
        buffer = conn.parser.unreader.buf
        if not conn.data_ready and not buffer.getvalue():
            _readable(conn.sock, FIRST_BYTE_MILLISECONDS)
        conn.sock.setblocking(False)
        while True:
            head = buffer.getvalue()
            if head and getattr(conn, "head_deadline", None) is None:
                conn.head_deadline = time.monotonic() + HEAD_SECONDS
            line_ends = b"\r\n" in head[: LONGEST_REQUEST_LINE + 2]
            if _END_OF_HEAD in head or len(head) > LONGEST_HEAD or (len(head) > LONGEST_REQUEST_LINE and not line_ends):
                return True
            try:
                piece = conn.sock.recv(_PIECE)
            except BlockingIOError:
                return False
            if not piece:
                return True  # the parser reports the end of the connection
            buffer.seek(0, 2)
            buffer.write(piece)

    def _next_request_arrives(self, conn: Any) -> bool:  # noqa: ANN401 - gunicorn has no types
        if not self.alive or self.tpool._work_queue.qsize():
            return False
        return bool(conn.parser.unreader.buf.getvalue()) or _readable(conn.sock, LINGER_MILLISECONDS)


def _readable(sock: socket.socket, milliseconds: int) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(milliseconds))


def _head_deadline(conn: Any) -> float:  # noqa: ANN401 - gunicorn has no types
    deadline = getattr(conn, "head_deadline", None)
    return float("inf") if deadline is None else float(deadline)


def _awaits_body(conn: Any) -> bool:  # noqa: ANN401 - gunicorn has no types
    """Whether the request has a body that has not arrived yet."""
    head, _, rest = conn.parser.unreader.buf.getvalue().partition(_END_OF_HEAD)
    head += b"\r\n"
    length = _CONTENT_LENGTH.search(head)
    return _CHUNKED.search(head) is not None or (length is not None and int(length[1]) > len(rest))
