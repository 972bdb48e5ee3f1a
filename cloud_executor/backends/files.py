"""Objects as files, in the layout of WebGME's file backend: an object's key is its path below the root.

An object is written to a file without a name (open(2), O_TMPFILE), of which a crash leaves nothing. Once its bytes are
on disk, a hard link gives it its key. If the file system does not support that, the file gets a unique name in
`wg-temp/`, where a file that a crash leaves is cleaned up like any abandoned upload.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from io import FileIO
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple, TypeVar
from uuid import uuid4

from cloud_executor.backends.file_sync import sync_all, sync_folders
from cloud_executor.backends.file_writing import write, write_batch
from cloud_executor.backends.os_errors import os_error, os_errors
from cloud_executor.errors import CloudExecutorError
from cloud_executor.ports import USE_NOTED_AFTER, ObjectInfo, ObjectNotFound

T = TypeVar("T")

GROUP_OBJECTS = 16
"""Number of objects from which on one sync of the whole file system takes less time than one for each object."""

MAX_OPEN_FILES = 2048
"""Largest number of objects that are written at once, if a process can open eight times as many files."""

_SHARDS = frozenset(f"{number:02x}" for number in range(256))
"""Names of the folders over which contents and metadata are spread."""

_OPEN_FILES = "/proc/self/fd"

_NO_UNNAMED_FILES = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})
"""Error numbers of file systems and old kernels that do not support unnamed files."""

_NOT_ALLOWED = frozenset({errno.EPERM, errno.EACCES, errno.EROFS})
"""Error numbers of noting the use of a file of another user, or on a read-only file system."""

_NO_OBJECT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG})


class _NewFile(NamedTuple):
    """A file that no other writer uses, open for writing."""

    descriptor: int
    path: str | None
    """Its path in `wg-temp/`, if it needed a name."""

    def link(self, path: str) -> None:
        """Give the file its permanent name."""
        if self.path is not None:
            os.link(self.path, path)
        else:
            # Python follows the link, as linkat(2) requires, only if a directory is given. The path is absolute, so the
            # system ignores the directory.
            os.link(f"{_OPEN_FILES}/{self.descriptor}", path, src_dir_fd=self.descriptor, follow_symlinks=True)

    def discard(self) -> None:
        """Close the file, and remove its temporary name."""
        os.close(self.descriptor)
        if self.path is not None:
            with suppress(OSError):
                os.unlink(self.path)


class FileObjectStore:
    """An ObjectStore in a folder of a local file system that supports hard links."""

    concurrency = 1

    def __init__(self, root: Path, use_noted_after: timedelta = USE_NOTED_AFTER) -> None:
        # Paths are strings here: for a small object, pathlib takes longer than the system calls.
        self._root = str(root)
        self._use_noted_after = use_noted_after.total_seconds()
        self._durable: set[str] = set()
        self._unnamed_files = hasattr(os, "O_TMPFILE") and os.path.isdir(_OPEN_FILES)

    def prepare(self) -> None:
        """Create all folders now, so that the first object need not wait for it. A failure is left to that object."""
        with suppress(OSError):
            for folder in ("wg-temp", "wg-content/00", "wg-metadata/00"):
                self._make(f"{self._root}/{folder}")

    def put(self, key: str, chunks: Iterable[bytes]) -> None:
        path = self._path(key)
        if not self._settled(path):
            with os_errors():
                new = self._new_file()
            try:
                write(new.descriptor, chunks)
                with os_errors():
                    os.fsync(new.descriptor)
                    self._name(path, new.link)
                    _sync(_folder(path))
            finally:
                new.discard()

    def put_all(self, objects: Mapping[str, bytes]) -> list[str]:
        paths = {self._path(key): key for key in objects}
        if len(objects) < GROUP_OBJECTS:
            return [paths[path] for path in self._put_few(objects)]
        existing: list[str] = []
        waiting = iter([(path, objects[key]) for path, key in paths.items()])
        while group := dict(islice(waiting, _files_at_once())):
            existing += self._put_group(group)
        # Also the names of existing objects, because their writers may not have synced them yet.
        folders = {_folder(self._path(key)) for key in objects}
        with os_errors():
            for folder in folders:
                self._make(folder)
            sync_folders(folders)
        return [paths[path] for path in existing]

    def _put_group(self, objects: Mapping[str, bytes]) -> Iterable[str]:
        """Put objects with one sync, before they get their names. The next one makes the names durable.

        Returns the paths of those that existed.
        """
        named: set[str] = set()
        files: dict[str, _NewFile] = {}
        try:
            with os_errors():
                for path, data in objects.items():
                    if self._use(path) is None:
                        files[path] = self._new_file()
                        write_batch(files[path].descriptor, [data])
                if files:
                    sync_all([new.descriptor for new in files.values()])
                named.update(path for path, new in files.items() if self._name(path, new.link))
        finally:
            for new in files.values():
                new.discard()
        return objects.keys() - named

    def _put_few(self, objects: Mapping[str, bytes]) -> Iterable[str]:
        """Returns the paths of those that existed."""
        named: set[str] = set()
        paths = [self._path(key) for key in objects]
        # Each step is done for all objects, so that one flush can cover several of them. The context managers of `put`
        # are avoided: for small objects they cost as much as the system calls.
        files: list[_NewFile] = []
        try:
            with os_errors():
                missing = {
                    path: data for path, data in zip(paths, objects.values(), strict=True) if self._use(path) is None
                }
                for data in missing.values():
                    files.append(self._new_file())
                    write_batch(files[-1].descriptor, [data])
                if len(files) > 1:
                    _start_writing(files)
                for new in files:
                    os.fsync(new.descriptor)
                for new, path in zip(files, missing, strict=True):
                    if self._name(path, new.link):
                        named.add(path)
                # Also the names of existing objects, because their writers may not have synced them yet.
                for folder in {_folder(path) for path in paths}:
                    self._make(folder)
                    _sync(folder)
        finally:
            for new in files:
                new.discard()
        return [path for path in paths if path not in named]

    def open(self, key: str, start: int = 0) -> FileIO:
        """Open the file. Its descriptor is positioned at `start`, ready for sendfile."""
        path = self._path(key)
        try:
            file = FileIO(path)
        except OSError as error:
            raise _open_error(error) from error
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
            raise _open_error(error) from error

    def stat(self, key: str) -> ObjectInfo:
        path = self._path(key)
        try:
            found = os.stat(path)
        except OSError as error:
            raise _open_error(error) from error
        if not S_ISREG(found.st_mode):
            raise ObjectNotFound
        return _info(key, found)

    def use(self, key: str, known: ObjectInfo | None = None) -> ObjectInfo:
        if known is not None and known.used is not None and not self._is_old(known.used.timestamp()):
            return known
        with os_errors():
            found = self._use(self._path(key))
        if found is None:
            raise ObjectNotFound
        return _info(key, found)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        folder, slash, start = prefix.rpartition("/")
        if slash:
            self._path(folder)
        return self._walk(folder + slash, start)

    def move(self, source: str, destination: str) -> bool:
        source_path, path = self._path(source), self._path(destination)
        with os_errors():
            try:
                link = partial(os.link, source_path)
                moved = self._name(path, link)
                if not moved and self._use(path) is None:
                    moved = self._name(path, link)
                _sync(_folder(path))
                if not moved and not os.path.samefile(source_path, path):
                    return False
            except FileNotFoundError:
                if not self._settled(path):
                    raise ObjectNotFound from None
            # A crash can restore the source. The copy is harmless, and is cleaned up like an abandoned upload.
            with suppress(FileNotFoundError):
                os.unlink(source_path)
            return True

    def delete(self, key: str) -> None:
        with os_errors(), suppress(FileNotFoundError):
            os.unlink(self._path(key))

    def delete_unused(self, info: ObjectInfo) -> bool:
        path = self._path(info.key)
        with os_errors(), suppress(FileNotFoundError), _locked(_folder(path), fcntl.LOCK_EX):
            found = os.stat(path)
            # The use of another user's file may have been impossible to note.
            if _version(found) != info.version or found.st_uid != os.geteuid():
                return False
            os.unlink(path)
        return True

    def _path(self, key: str) -> str:
        if "\0" in key or not {"", ".", ".."}.isdisjoint(key.split("/")):
            raise ValueError("The key must be a path below the root.")
        return f"{self._root}/{key}"

    def _settled(self, path: str) -> bool:
        """Whether the object exists and is used. If so, sync its name: its writer may not have done so yet."""
        with os_errors():
            if self._use(path) is None:
                return False
            folder = _folder(path)
            self._make(folder)
            _sync(folder)
            return True

    def _use(self, path: str) -> os.stat_result | None:
        """Record the use of a file in the time of its inode's last change. None if there is no file."""
        try:
            found = os.stat(path)
            if not S_ISREG(found.st_mode):
                return None
            if self._is_old(found.st_ctime):
                # Without the lock, `delete_unused` could miss the change.
                with _locked(_folder(path), fcntl.LOCK_SH):
                    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        except OSError as error:
            if error.errno in _NO_OBJECT:
                return None
            if error.errno not in _NOT_ALLOWED:
                raise
        return found

    def _is_old(self, used: float) -> bool:
        return time.time() - used > self._use_noted_after

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

    def _name(self, path: str, link: Callable[[str], None]) -> bool:
        """Give a file this path with `link`. Returns False if the path is taken."""
        # A rename would replace an object that another writer has stored in the meantime.
        try:
            self._inside(_folder(path), lambda: link(path))
        except FileExistsError:
            return False
        return True

    def _inside(self, folder: str, action: Callable[[], T]) -> T:
        """Create the folder, and call `action`, which needs it. Do so again if the folder was removed in between."""
        self._make(folder)
        try:
            return action()
        except FileNotFoundError:
            self._durable.clear()
            self._make(folder)
            return action()

    def _make(self, folder: str) -> None:
        """Create the folder durably, once per process: an existing one may not have been synced by its creator yet."""
        if folder in self._durable:
            return
        if folder == self._root:
            os.makedirs(folder, exist_ok=True)
            made = [folder]
        else:
            parent = _folder(folder)
            self._make(parent)
            # All shards at once: syncing their parent for each of them would take longer than creating them.
            sharded = parent != self._root and folder.removeprefix(f"{parent}/") in _SHARDS
            made = [f"{parent}/{shard}" for shard in _SHARDS] if sharded else [folder]
            for path in made:
                with suppress(FileExistsError):
                    os.mkdir(path)
        _sync(_folder(folder))
        self._durable.update(made)

    def _walk(self, folder: str, start: str) -> Iterator[ObjectInfo]:
        """The objects below `folder` (empty, or ending in a slash) whose next path component begins with `start`."""
        with os_errors():
            # The slash makes folder names sort like the keys below them.
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


def _files_at_once() -> int:
    """The number of files of `put_all` that are open at once."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_OPEN_FILES if limit == resource.RLIM_INFINITY else max(1, min(MAX_OPEN_FILES, limit // 8))


def _start_writing(files: Iterable[_NewFile]) -> None:
    """Let the system write all files at once, so that the first flush of its journal covers them, if it can."""
    if hasattr(os, "posix_fadvise"):
        for new in files:
            with suppress(OSError):
                os.posix_fadvise(new.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


@contextmanager
def _locked(folder: str, operation: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


def _version(status: os.stat_result) -> str:
    return str(status.st_ctime_ns)


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    modified, used = (datetime.fromtimestamp(time, UTC) for time in (status.st_mtime, status.st_ctime))
    return ObjectInfo(key, status.st_size, modified, used=used, version=_version(status))


def _read(file: int, size: int) -> bytes:
    parts = []
    while size > 0 and (part := os.read(file, size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _open_error(error: OSError) -> CloudExecutorError:
    """The port's error for a file that could not be opened."""
    return ObjectNotFound() if error.errno in _NO_OBJECT else os_error(error)
