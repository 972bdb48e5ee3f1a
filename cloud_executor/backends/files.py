"""Objects as files, in the layout of WebGME's file backend: an object's key is its path below the root.

What is being written is a file without a name (open(2), O_TMPFILE), of which a crash leaves nothing. It gets its key,
by a hard link, once its bytes are on the disk. Where the file system cannot do that, it is a file of `wg-temp/` that
nobody else knows, and what a crash leaves is found there like every abandoned upload.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from io import FileIO
from itertools import chain
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple, TypeVar
from uuid import uuid4

from cloud_executor.backends.os_errors import os_error, os_errors
from cloud_executor.errors import CloudExecutorError
from cloud_executor.ports import ObjectInfo, ObjectNotFound

T = TypeVar("T")

BATCH = 1 << 20
"""bytes that are handed to the writing thread at once; an object that is no larger needs no thread"""

BATCHES_AHEAD = 8
"""how many batches may wait to be written"""

FLUSH_EVERY = 32 << 20
"""bytes after which they are sent to the disk, while the next ones come in: so the last flush is a short one"""

_SHARDS = frozenset(f"{number:02x}" for number in range(256))
"""the folders that contents and metadata are spread over"""

_OPEN_FILES = "/proc/self/fd"

_NO_UNNAMED_FILES = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})
"""how a file system, or an old kernel, says that it has none"""

_NO_OBJECT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG})


class _NewFile(NamedTuple):
    """A file that nobody else knows, open for writing."""

    descriptor: int
    path: str | None
    """its name in `wg-temp/`, if it had to have one"""

    def link(self, path: str) -> None:
        """Give it a name that stays."""
        if self.path is not None:
            os.link(self.path, path)
        else:
            # The directory, which an absolute path makes meaningless, has Python follow the link, as linkat(2) says.
            os.link(f"{_OPEN_FILES}/{self.descriptor}", path, src_dir_fd=self.descriptor, follow_symlinks=True)

    def discard(self) -> None:
        """Close it, and remove the name it had."""
        os.close(self.descriptor)
        if self.path is not None:
            with suppress(OSError):
                os.unlink(self.path)


class FileObjectStore:
    """An ObjectStore in a folder of a local file system that knows hard links."""

    concurrency = 1

    def __init__(self, root: Path) -> None:
        # Paths are texts here: for a small object, pathlib takes longer than the system does.
        self._root = str(root)
        self._durable: set[str] = set()
        self._unnamed_files = hasattr(os, "O_TMPFILE") and os.path.isdir(_OPEN_FILES)

    def put(self, key: str, chunks: Iterable[bytes]) -> None:
        path = self._path(key)
        if not self._settled(path):
            with os_errors():
                new = self._new_file()
            try:
                _write(new.descriptor, chunks)
                with os_errors():
                    os.fsync(new.descriptor)
                    self._name(path, new.link)
                    _sync(_folder(path))
            finally:
                new.discard()

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        missing = {path: data for key, data in objects.items() if not self._settled(path := self._path(key))}
        # Step by step for all of them, so that what one step takes to the disk takes the others' along; and without
        # the contexts of `put`, which for small objects cost as much as the system's calls.
        files: list[_NewFile] = []
        try:
            with os_errors():
                for data in missing.values():
                    files.append(self._new_file())
                    _write_batch(files[-1].descriptor, [data])
                for new in files:
                    os.fsync(new.descriptor)
                for new, path in zip(files, missing, strict=True):
                    self._name(path, new.link)
                for folder in {_folder(path) for path in missing}:
                    _sync(folder)
        finally:
            for new in files:
                new.discard()

    def open(self, key: str, start: int = 0) -> FileIO:
        """The file itself: its `fileno()` stands at `start`, ready for sendfile."""
        path = self._path(key)
        try:
            file = FileIO(path)
        except OSError as error:
            raise _looked_up(error) from error
        file.seek(start)
        return file

    def read(self, key: str) -> tuple[bytes, ObjectInfo]:
        path = self._path(key)
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                found = os.fstat(file)
                return _read(file, found.st_size), _info(key, found)
            finally:
                os.close(file)
        except OSError as error:
            raise _looked_up(error) from error

    def stat(self, key: str) -> ObjectInfo:
        path = self._path(key)
        try:
            found = os.stat(path)
        except OSError as error:
            raise _looked_up(error) from error
        if not S_ISREG(found.st_mode):
            raise ObjectNotFound
        return _info(key, found)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        folder, slash, start = prefix.rpartition("/")
        if slash:
            self._path(folder)
        return self._walk(folder + slash, start)

    def move(self, source: str, destination: str) -> None:
        source_path, path = self._path(source), self._path(destination)
        with os_errors():
            try:
                self._name(path, partial(os.link, source_path))
                _sync(_folder(path))
            except FileNotFoundError:
                if not self._settled(path):
                    raise ObjectNotFound from None
            # Should a crash bring the source back, it is there twice: harmless, and cleared with what was abandoned.
            with suppress(FileNotFoundError):
                os.unlink(source_path)

    def delete(self, key: str) -> None:
        with os_errors(), suppress(FileNotFoundError):
            os.unlink(self._path(key))

    def _path(self, key: str) -> str:
        if "\0" in key or not {"", ".", ".."}.isdisjoint(key.split("/")):
            raise ValueError("The key is no path below the root.")
        return f"{self._root}/{key}"

    def _settled(self, path: str) -> bool:
        """Whether the object is there, and stays: its writer may not have come to syncing it yet."""
        with os_errors():
            if not os.path.exists(path):
                return False
            folder = _folder(path)
            self._make(folder)
            _sync(folder)
            return True

    def _new_file(self) -> _NewFile:
        folder = f"{self._root}/wg-temp"
        if self._unnamed_files:
            flags = os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC
            try:
                file = self._inside(folder, lambda: os.open(folder, flags, 0o666))
            except OSError as error:
                if error.errno not in _NO_UNNAMED_FILES:
                    raise
                self._unnamed_files = False
            else:
                return _NewFile(file, None)
        path = f"{folder}/{uuid4()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return _NewFile(self._inside(folder, lambda: os.open(path, flags, 0o666)), path)

    def _name(self, path: str, link: Callable[[str], None]) -> None:
        """Have bytes get this path by a link, unless it is taken."""
        # A link, since a rename would replace what another writer has put there meanwhile.
        with suppress(FileExistsError):
            self._inside(_folder(path), lambda: link(path))

    def _inside(self, folder: str, action: Callable[[], T]) -> T:
        """Do what needs the folder, after making it; also if somebody has cleared it away since."""
        self._make(folder)
        try:
            return action()
        except FileNotFoundError:
            self._durable.clear()
            self._make(folder)
            return action()

    def _make(self, folder: str) -> None:
        """Make the folder durably. Once for each: another process may have made it and not synced it yet."""
        if folder in self._durable:
            return
        if folder == self._root:
            os.makedirs(folder, exist_ok=True)
            made = [folder]
        else:
            parent = _folder(folder)
            self._make(parent)
            # All shards at once: to sync their folder for each of them would take longer than to make them.
            sharded = parent != self._root and folder.removeprefix(f"{parent}/") in _SHARDS
            made = [f"{parent}/{shard}" for shard in _SHARDS] if sharded else [folder]
            for path in made:
                with suppress(FileExistsError):
                    os.mkdir(path)
        _sync(_folder(folder))
        self._durable.update(made)

    def _walk(self, folder: str, start: str) -> Iterator[ObjectInfo]:
        """The objects below `folder` (a key that ends in a slash, or nothing) whose next name begins with `start`."""
        with os_errors():
            # The slash makes names sort as the keys below them do.
            try:
                with os.scandir(f"{self._root}/{folder}") as entries:
                    found = {
                        entry.name + "/" * entry.is_dir(): entry for entry in entries if entry.name.startswith(start)
                    }
            except (FileNotFoundError, NotADirectoryError):
                return
        for name in sorted(found):
            if name.endswith("/"):
                yield from self._walk(folder + name, "")
                continue
            with os_errors():
                try:
                    status = found[name].stat()
                except FileNotFoundError:
                    continue
            yield _info(folder + name, status)


def _write(file: int, chunks: Iterable[bytes]) -> None:
    """Write all chunks; those of a large object while the caller makes, and maybe hashes, the next ones."""
    batches = _batches(chunks)
    first = next(batches, [])
    following = next(batches, None)
    if following is None:
        with os_errors():
            _write_batch(file, first)
        return
    with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(1) as flusher:
        writes: deque[Future[None]] = deque()
        flush: Future[None] | None = None
        unflushed = 0
        for batch in chain([first, following], batches):
            writes.append(writer.submit(_write_batch, file, batch))
            unflushed += sum(map(len, batch))
            with os_errors():
                if len(writes) > BATCHES_AHEAD:
                    writes.popleft().result()
                if unflushed >= FLUSH_EVERY:
                    # Waiting for the one before bounds what the last flush has left to do. Its error must be seen
                    # here: the system reports it once.
                    if flush is not None:
                        flush.result()
                    flush = flusher.submit(os.fsync, file)
                    unflushed = 0
        with os_errors():
            for write in writes:
                write.result()
            if flush is not None:
                flush.result()


def _batches(chunks: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for chunk in chunks:
        batch.append(chunk)
        size += len(chunk)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write_batch(file: int, batch: list[bytes]) -> None:
    for chunk in batch:
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(file, rest) :]


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def _read(file: int, size: int) -> bytes:
    parts = []
    while size > 0 and (part := os.read(file, size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _looked_up(error: OSError) -> CloudExecutorError:
    """What it means that a file could not be opened."""
    return ObjectNotFound() if error.errno in _NO_OBJECT else os_error(error)
