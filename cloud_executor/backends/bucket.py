"""What the stores of remote buckets (Cloud Storage, S3) have in common."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain

from cloud_executor.errors import QuotaExceeded
from cloud_executor.parallel import parallel_map
from cloud_executor.ports import ObjectInfo, ObjectNotFound

logger = logging.getLogger(__name__)

READ_BYTES = 256 * 1024
"""Size of the buffer of an open object, in bytes."""

CONNECTIONS = 64
"""Number of connections kept open for later calls."""


class BucketStore(ABC):
    """The part of an ObjectStore that is the same for all buckets. All writes are conditional: the first one wins."""

    concurrency = 16

    def __init__(self, use_noted_after: timedelta) -> None:
        self._use_noted_after = use_noted_after

    def put(self, key: str, chunks: Iterable[bytes]) -> None:
        self._put(key, chunks)

    def put_all(self, objects: Mapping[str, bytes]) -> list[str]:
        stored = parallel_map(lambda item: self._put(item[0], (item[1],)), objects.items(), self.concurrency)
        return [key for key, is_new in zip(objects, stored, strict=True) if not is_new]

    @abstractmethod
    def stat(self, key: str) -> ObjectInfo: ...

    def use(self, key: str, known: ObjectInfo | None = None) -> ObjectInfo:
        if known is not None and self._is_noted(known):
            return known
        info = self.stat(key)
        if not self._is_noted(info):
            try:
                self._note_use(info)
            except QuotaExceeded:
                if known is None:
                    raise
                # A reader has what it needs. It would fail for a note that matters days later, and only if nothing
                # needs the object.
                logger.warning("the use of an object could not be noted", extra={"action": "use"}, exc_info=True)
        return info

    def _is_noted(self, info: ObjectInfo) -> bool:
        return info.used is not None and datetime.now(UTC) - info.used <= self._use_noted_after

    def move(self, source: str, destination: str) -> bool:
        try:
            found = self.stat(source)
            # Checked for the same reasons as in `_put`.
            if self._uses(destination) or not self._copy(found, destination):
                return False
        except ObjectNotFound:
            if not self._uses(destination):
                raise
        self.delete(source)
        return True

    @abstractmethod
    def delete(self, key: str) -> None: ...

    # Steps --------------------------------------------------------------------------------------------------------

    @abstractmethod
    def _piece_bytes(self, number: int) -> int:
        """The size of a piece of an upload, numbered from 0. A smaller object is sent in one request."""

    @abstractmethod
    def _note_use(self, info: ObjectInfo) -> None:
        """Note that an object, of which this is known, is used now. Raises ObjectNotFound."""

    @abstractmethod
    def _put_small(self, key: str, content: bytes) -> bool:
        """Store an object. Returns False if it exists."""

    @abstractmethod
    def _put_large(self, key: str, pieces: Iterator[bytes]) -> bool:
        """Store the joined pieces, of which there are at least two. Returns False if the object exists."""

    @abstractmethod
    def _copy(self, source: ObjectInfo, destination: str) -> bool:
        """Copy an object inside the service, without its note. Returns False if it exists. Raises ObjectNotFound."""

    def _put(self, key: str, chunks: Iterable[bytes]) -> bool:
        """Put an object. Returns False if it exists."""
        pieces = self._pieces(chunks)
        first = next(pieces)
        second = next(pieces, None)
        if second is None:
            while not self._put_small(key, first):
                if self._uses(key):
                    return False
            return True
        # The check spares the transfer of an object that exists. Also, some emulators ignore the condition.
        return not self._uses(key) and self._put_large(key, chain((first, second), pieces))

    def _has(self, key: str) -> bool:
        try:
            self.stat(key)
        except ObjectNotFound:
            return False
        return True

    def _uses(self, key: str) -> bool:
        """Whether the object exists and is used."""
        try:
            self.use(key)
        except ObjectNotFound:
            return False
        return True

    def _pieces(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Regroup the bytes into pieces. The last one can be smaller; an empty object is one empty piece."""
        piece = bytearray()
        number = 0
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                size = self._piece_bytes(number)
                if len(piece) == size:
                    yield bytes(piece)
                    piece.clear()
                    number += 1
                taken = rest[: size - len(piece)]
                piece += taken
                rest = rest[len(taken) :]
        yield bytes(piece)


def modified_time(time: datetime) -> datetime:
    """The modification time of an object, to the second: the precision of the Last-Modified header of a download."""
    return time.astimezone(UTC).replace(microsecond=0)
