"""One SQLite file for many threads and processes, with a write-ahead log and group commit.

The writes of a process queue up. One of its threads, the leader, commits all of them in one transaction, so that they
share one flush to disk. Leaders of several processes take turns through a lock on a file next to the database. That
lock passes to the next waiter immediately, and the system releases it if its owner dies. SQLite's own lock is polled.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from cloud_executor.backends.os_errors import os_errors
from cloud_executor.backends.sqlite.schema import MIGRATIONS
from cloud_executor.errors import StorageFull, Unavailable

T = TypeVar("T")

Value = bytes | int | None

Work = Callable[[sqlite3.Connection], T]
"""The statements of one read or write. It must fetch all rows that it selects."""

BUSY_TIMEOUT_SECONDS = 10
"""Longest wait for another program, such as a backup, that holds SQLite's own lock, in seconds."""

_STORAGE_ERRORS = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
"""Primary result codes that mean a problem with the storage, not a bug."""

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""Primary result codes that mean that the file's content is wrong."""


class NewerDatabase(Unavailable):
    """The data folder was written by a newer version of Cloud Executor; use that version, or another folder."""


class DamagedDatabase(Unavailable):
    """The job database executor.sqlite is damaged; stop the server and repair it as docs/operations.md describes."""


class SqliteDatabase:
    """Connections to the file, opened on first use. Safe for concurrent use by threads, and after a fork."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._set_up()
        before, after = weakref.WeakMethod(self._before_fork), weakref.WeakMethod(self._after_fork)
        child = weakref.WeakMethod(self._set_up)
        os.register_at_fork(
            before=lambda: _call(before()),
            after_in_parent=lambda: _call(after()),
            after_in_child=lambda: _call(child()),
        )

    @property
    def folder(self) -> Path:
        """The folder of the file."""
        return self._path.parent

    def _set_up(self) -> None:
        self._idle: list[sqlite3.Connection] = []
        self._writer: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._prepared = False
        self._preparing = threading.Lock()
        self._turn = threading.Condition()
        self._users = 0
        self._pausing = False
        self._pending: list[_Write[Any]] = []
        self._leading = False

    def _before_fork(self) -> None:
        # SQLite counts its locks per process, and a forked copy of the count is wrong: a child that inherits a
        # connection, even an idle one, does not lock the file, and its writes are lost when the parent closes its own
        # connection.
        self._turn.acquire()
        self._close_all()

    def _after_fork(self) -> None:
        self._turn.release()

    def read(self, work: Work[T]) -> T:
        """Run `work` and return its result. Each statement sees the latest commit."""
        with _errors(), self._using():
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._open()
            try:
                return work(connection)
            finally:
                self._idle.append(connection)

    def rows(self, query: str, values: Sequence[Value] = ()) -> list[Any]:
        """Return all rows of a query."""
        return self.read(lambda connection: connection.execute(query, values).fetchall())

    def write(self, work: Work[T], *, durable: bool = True) -> T:
        """Run `work` in a transaction that is committed on return. If it raises, none of its changes are stored.

        It can run on another thread, and must not call the database itself. A commit that is not `durable` survives the
        death of any process, but a power failure can undo it, along with all later commits up to the next durable one.
        """
        with _errors(), self._using():
            request = _Write(work, durable)
            self._join(request)
            if not request.done:
                self._lead()
            return request.outcome()

    def execute(self, statement: str, values: Sequence[Value] = (), *, durable: bool = True) -> int:
        """Run one statement as a write. Returns the number of rows that it changed."""
        return self.write(lambda connection: connection.execute(statement, values).rowcount, durable=durable)

    def close(self) -> None:
        """Close all connections. The next use reopens them."""
        with self._turn:
            self._close_all()

    def _close_all(self) -> None:
        """Wait until no connection is in use, keep new users out, and close everything. The caller holds `_turn`."""
        self._pausing = True
        while self._users:
            self._turn.wait()
        if self._writer is not None:
            self._idle.append(self._writer)
            self._writer = None
        while self._idle:
            self._idle.pop().close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        self._pausing = False
        self._turn.notify_all()

    @contextmanager
    def _using(self) -> Iterator[None]:
        """Allow connections to be opened and used inside the block."""
        with self._turn:
            while self._pausing:
                self._turn.wait()
            self._users += 1
        try:
            self._prepare()
            yield
        finally:
            with self._turn:
                self._users -= 1
                if self._pausing and not self._users:
                    self._turn.notify_all()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA temp_store = MEMORY")  # savepoints must not need another folder
        return connection

    def _prepare(self) -> None:
        """Migrate the file, once."""
        if self._prepared:
            return
        with self._preparing:
            if self._prepared:
                return
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._exclusive():
                connection = self._open()
                try:
                    _migrate(connection)
                except BaseException:
                    connection.close()
                    raise
            self._idle.append(connection)
            self._prepared = True

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Exclude all other writers, for no longer than a commit takes."""
        if self._lock is None:
            self._lock = os.open(self._path.with_name(self._path.name + "-lock"), os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _join(self, request: _Write[Any]) -> None:
        """Wait in the queue until the request is done or its thread must lead."""
        with self._turn:
            self._pending.append(request)
            if not self._leading:
                self._leading = True
                return
        try:
            request.wait()
        except BaseException:
            with self._turn:
                if request in self._pending:
                    self._pending.remove(request)
                    if request.woken:
                        self._pass_on()
            raise

    def _lead(self) -> None:
        """Commit all queued writes, wake their threads, and hand leadership to the next in the queue."""
        batch: list[_Write[Any]] = []
        try:
            with self._exclusive():
                # As late as possible, to include the writes that queued up during the turn of another process.
                batch = self._take_pending()
                self._commit(batch)
        except BaseException as error:
            batch = batch or self._take_pending()
            for request in batch:
                request.fail(error)
            if not isinstance(error, Exception):
                raise
        finally:
            for request in batch:
                request.done = True
                request.wake()
            with self._turn:
                self._pass_on()

    def _pass_on(self) -> None:
        """Make the next in the queue the leader. The caller holds `_turn`."""
        self._leading = bool(self._pending)
        if self._leading:
            self._pending[0].wake()

    def _take_pending(self) -> list[_Write[Any]]:
        with self._turn:
            batch, self._pending = self._pending, []
        return batch

    def _commit(self, batch: list[_Write[Any]]) -> None:
        connection = self._writer = self._writer or self._open()
        try:
            durable = any(request.durable for request in batch)
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            for request in batch:
                request.run(connection)
            connection.execute("COMMIT")
        except BaseException:
            # The state of the connection is unknown; closing it rolls back.
            self._writer = None
            connection.close()
            raise


class _Write(Generic[T]):
    """A write that waits to be committed."""

    def __init__(self, work: Work[T], durable: bool) -> None:
        self.done = False
        self.durable = durable
        self.woken = False
        self._asleep = threading.Lock()
        self._asleep.acquire()
        self._work = work
        self._result: T
        self._error: Exception | None = None

    def run(self, connection: sqlite3.Connection) -> None:
        """Run the work in the leader's transaction. Raises only if the whole transaction is lost."""
        connection.execute("SAVEPOINT work")
        try:
            self._result = self._work(connection)
        except Exception as error:
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO work")
            self._error = error
        connection.execute("RELEASE work")

    def wait(self) -> None:
        """Block until `wake`: the write is done, or its thread must lead."""
        self._asleep.acquire()

    def wake(self) -> None:
        if not self.woken:
            self.woken = True
            self._asleep.release()

    def fail(self, error: BaseException) -> None:
        self._error = error if isinstance(error, Exception) else Unavailable()

    def outcome(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result


def _migrate(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise NewerDatabase
    connection.execute("PRAGMA journal_mode = WAL")
    for number, statements in enumerate(MIGRATIONS[version:], version + 1):
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")


@contextmanager
def _errors() -> Iterator[None]:
    try:
        with os_errors():
            yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            raise StorageFull from error
        if code in _DAMAGED:
            raise DamagedDatabase from error
        if code in _STORAGE_ERRORS:
            raise Unavailable from error
        raise


def _call(action: Callable[[], None] | None) -> None:
    if action is not None:
        action()
