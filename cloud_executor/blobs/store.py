"""The blob store: content-addressed files and metadata over an object store."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import BinaryIO

import msgspec

from cloud_executor.blobs.keys import (
    CONTENT_PREFIX,
    METADATA_PREFIX,
    content_key,
    manifest_key,
    metadata_key,
    temporary_key,
    zip_key,
)
from cloud_executor.errors import Conflict, NotFound, TooLarge
from cloud_executor.model.blobs.metadata import BlobMetadata, parse_hash, response_document
from cloud_executor.parallel import parallel_map
from cloud_executor.ports import DirectTransfers, ObjectNotFound, ObjectStore

SMALL_CONTENT_BYTES = 1024 * 1024
"""Maximum size of a content that is hashed in memory and therefore needs no temporary object, in bytes."""

READ_BYTES = 256 * 1024
"""Size of one read of a content, in bytes."""

MAX_CONTENTS_PER_QUERY = 10_000
"""Maximum number of contents in one call of `missing`."""


class BlobNotFound(NotFound):
    """No blob has this hash."""


class ContentMissing(NotFound):
    """A part of this blob is not stored. Upload it first."""

    @classmethod
    def of(cls, content_hash: str, name: str) -> ContentMissing:
        """The error for the part with this hash, of the file with this name."""
        part = f"{content_hash[:_SHOWN]!r} of {name[:_SHOWN]!r}" if name else f"{content_hash[:_SHOWN]!r}"
        return cls(f"The content {part}, a part of this blob, is not stored. Upload it first.")


class ContentDiffers(Conflict):
    """Another content with the same SHA-1 is already stored, so this one cannot be; change the file."""


_SHOWN = 100
"""Length of the longest name in a sentence, in characters."""


class StoredBlob(msgspec.Struct, frozen=True):
    """A blob's metadata document as it is stored."""

    hash: str
    canonical: bytes
    last_modified: datetime

    @property
    def metadata(self) -> BlobMetadata:
        """Raises NotFound if the stored document is invalid; other programs may have written it."""
        return BlobMetadata.from_canonical(self.canonical)

    def document(self) -> bytes:
        """The document as the API shows it: JSON, with `lastModified`."""
        return response_document(self.canonical, self.last_modified)


@dataclass(frozen=True, slots=True)
class BlobStore:
    """Stores and looks up files and metadata. Safe for concurrent use."""

    objects: ObjectStore
    clock: Callable[[], datetime]
    direct: DirectTransfers | None = None
    """The direct transfers of `objects`, if it has any."""
    on_stored: Callable[[BlobMetadata], None] | None = None
    """Called with the metadata of each blob that was stored; possibly by several threads at once."""

    def create_file(self, name: str, chunks: Iterable[bytes]) -> StoredBlob:
        """Store a file durably. If `chunks` raises, because an upload broke off, no blob is stored.

        Raises ContentDiffers.
        """
        incoming = iter(chunks)
        head: list[bytes] = []
        size = 0
        for chunk in incoming:
            head.append(chunk)
            size += len(chunk)
            if size > SMALL_CONTENT_BYTES:
                content_hash, size = self._put_large_content(chain(head, incoming))
                return self.create_metadata(BlobMetadata.for_file(name, size, content_hash))
        content = b"".join(head)
        content_hash = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        metadata = BlobMetadata.for_file(name, size, content_hash)
        self._put_all({content_key(content_hash): content, metadata_key(metadata.hash): metadata.canonical})
        return self._stored(metadata)

    def create_files(self, files: Sequence[tuple[str, bytes]]) -> list[StoredBlob]:
        """Store small files, given by name and content, durably and in much less time than one by one.

        Raises ContentDiffers.
        """
        objects: dict[str, bytes] = {}
        created = []
        for name, content in files:
            content_hash = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            metadata = BlobMetadata.for_file(name, len(content), content_hash)
            if objects.setdefault(content_key(content_hash), content) != content:
                raise ContentDiffers
            objects[metadata_key(metadata.hash)] = metadata.canonical
            created.append(metadata)
        self._put_all(objects)
        return [self._stored(metadata) for metadata in created]

    def create_metadata(self, metadata: BlobMetadata) -> StoredBlob:
        """Store a metadata document durably. Its targets need not exist."""
        self.objects.put(metadata_key(metadata.hash), (metadata.canonical,))
        return self._stored(metadata)

    def metadata(self, metadata_hash: str, *, is_used: bool = False) -> StoredBlob:
        """Raises BlobNotFound, also for a string that is not a hash.

        If it `is_used`, the blob counts as used, with everything that it names: its caller may rely on that.
        """
        try:
            key = metadata_key(parse_hash(metadata_hash))
            stored, info = self.objects.read(key)
            if is_used:
                self.objects.use(key, info)
        except NotFound:
            raise BlobNotFound from None
        if not stored.startswith(b"{"):
            raise BlobNotFound  # not a metadata document
        return StoredBlob(metadata_hash, stored, info.modified)

    def delete(self, metadata_hash: str, forget: Callable[[str], None] = lambda _: None) -> None:
        """Delete a blob's metadata document, so that nobody can read the blob, and what its downloads have stored.

        Its contents stay, because other blobs may have them. `forget` deletes the grants of the document. Raises
        BlobNotFound.
        """
        try:
            key = metadata_key(parse_hash(metadata_hash))
            self.objects.stat(key)
        except NotFound:
            raise BlobNotFound from None
        # The document last: after a crash or an error, the call can be repeated.
        for stored in (zip_key(metadata_hash), manifest_key(metadata_hash)):
            self.objects.delete(stored)
        forget(metadata_hash)
        self.objects.delete(key)

    def list_metadata(self, *, everything: bool) -> Iterator[StoredBlob]:
        """All blobs, or only the public ones, read as the iterator is consumed."""
        for info in self.objects.list(METADATA_PREFIX):
            try:
                blob = self.metadata(info.key.removeprefix(METADATA_PREFIX).replace("/", ""))
                if everything or blob.metadata.is_public:
                    yield blob
            except NotFound:
                continue  # another file, or an invalid document

    def open_content(self, content_hash: str, start: int = 0) -> AbstractContextManager[BinaryIO]:
        """The bytes of a content from offset `start`. Raises ContentMissing."""
        try:
            return self.objects.open(content_key(content_hash), start)
        except ObjectNotFound:
            raise ContentMissing from None

    def has_content(self, content_hash: str) -> bool:
        """Whether the content is stored. If so, it counts as used, because the caller may rely on it."""
        try:
            self.objects.use(content_key(content_hash))
        except ObjectNotFound:
            return False
        return True

    def has_same_content(
        self, content_hash: str, size: int, crc32: int | None, chunks: Callable[[], Iterable[bytes]]
    ) -> bool:
        """Whether the content with this hash, size, CRC-32 (None: unknown), and these bytes is stored and now used.

        It is read only if the store has no CRC-32 of it: two files with the same SHA-1 differ in their CRC-32, unless
        their author made dozens of collisions to choose it. Raises ContentDiffers if other bytes have the hash.
        """
        try:
            stored = self.objects.use(content_key(content_hash))
        except ObjectNotFound:
            return False
        if stored.size != size:
            raise ContentDiffers
        if stored.crc32 is not None and crc32 is not None:
            if stored.crc32 != crc32:
                raise ContentDiffers
            return True
        with self.open_content(content_hash) as content:
            for chunk in chunks():
                if _read_exactly(content, len(chunk)) != chunk:
                    raise ContentDiffers
        return True

    def settle(self, temporary: str, content_hash: str, crc32: int | None = None) -> None:
        """Move an uploaded object to the key of its content. Safe to repeat.

        Raises ObjectNotFound, and ContentDiffers, after which the uploaded object is deleted.
        """
        if self.objects.move(temporary, content_key(content_hash)):
            return

        def chunks() -> Iterator[bytes]:
            with self.objects.open(temporary) as content:
                while chunk := content.read(READ_BYTES):
                    yield chunk

        info = self.objects.stat(temporary)
        try:
            self.has_same_content(content_hash, info.size, info.crc32 if crc32 is None else crc32, chunks)
        except ContentDiffers:
            self.objects.delete(temporary)
            raise
        self.objects.delete(temporary)

    def missing(
        self,
        content_hashes: Collection[str],
        known: Callable[[Collection[str]], Collection[str]] = lambda hashes: hashes,
    ) -> list[str]:
        """The contents that are not stored, each once, in the given order. Raises TooLarge.

        `known` returns those of the contents whose existence the caller may know. The others count as not stored.
        """
        if len(content_hashes) > MAX_CONTENTS_PER_QUERY:
            raise TooLarge(f"One request can name up to {MAX_CONTENTS_PER_QUERY} contents.")
        distinct = list(dict.fromkeys(content_hashes))
        looked_up = list(known(distinct))
        stored = parallel_map(self.has_content, looked_up, self.objects.concurrency)
        found = {content_hash for content_hash, is_stored in zip(looked_up, stored, strict=True) if is_stored}
        return [content_hash for content_hash in distinct if content_hash not in found]

    def _put_large_content(self, chunks: Iterator[bytes]) -> tuple[str, int]:
        digest = hashlib.sha1(usedforsecurity=False)
        size = 0

        def hashed() -> Iterator[bytes]:
            nonlocal size
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                yield chunk

        temporary = temporary_key(str(uuid.uuid4()))
        self.objects.put(temporary, hashed())
        content_hash = digest.hexdigest()
        self.settle(temporary, content_hash)
        return content_hash, size

    def _put_all(self, objects: Mapping[str, bytes]) -> None:
        """Put small contents and metadata documents. Raises ContentDiffers."""
        existing = [key for key in self.objects.put_all(objects) if key.startswith(CONTENT_PREFIX)]

        def compare(key: str) -> None:
            if self.objects.read(key)[0] != objects[key]:
                raise ContentDiffers

        for _ in parallel_map(compare, existing, self.objects.concurrency):
            pass

    def _stored(self, metadata: BlobMetadata) -> StoredBlob:
        if self.on_stored is not None:
            self.on_stored(metadata)
        return StoredBlob(metadata.hash, metadata.canonical, self.clock())


def _read_exactly(content: BinaryIO, size: int) -> bytes:
    """The next bytes; fewer at the end."""
    data = content.read(size)
    while 0 < len(data) < size and (more := content.read(size - len(data))):
        data += more
    return data
