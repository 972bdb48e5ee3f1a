"""Zips of artifacts that the object store composes from stored contents, which therefore bypass this program.

A composed zip has the same bytes as `archive_chunks` yields for the artifact, so a download can resume with either.
This program sends only the bytes between the contents, and small contents. The key is `wg-zip/<2 hex>/<38 hex>.zip`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from cloud_executor.blobs.crc32 import crc32_combine
from cloud_executor.blobs.downloads import ArtifactMember, ContentDownload, ZipDownload
from cloud_executor.blobs.keys import content_key, zip_key
from cloud_executor.blobs.store import BlobStore, ContentMissing
from cloud_executor.blobs.zip_writer import ArchiveLayout, check_size
from cloud_executor.errors import TooLarge
from cloud_executor.parallel import parallel_map
from cloud_executor.ports import DirectTransfers, ObjectInfo, ObjectNotFound

MAX_INLINED_MEMBER_BYTES = 64 * 1024
"""Largest content that this program reads and sends as bytes, in bytes.

Reading it takes one call, as would an object with the bytes that separate it from the next content.
"""

MAX_INLINED_BYTES = 64 * 1024 * 1024
"""Maximum total size of such contents per archive, in bytes: they are held in memory."""

GLUE_BYTES = 8 * 1024 * 1024
"""Approximate maximum size of one part that is sent as bytes, in bytes."""

LARGEST_ZIP_BYTES = 5 * 2**40
"""Largest object that Cloud Storage can hold, in bytes."""

MAX_COPIES = 2
"""Maximum size of the composed zips of an artifact, per size of its distinct contents."""

FREE_BYTES = 64 * 1024 * 1024
"""Size of composed zips that is allowed beyond that, in bytes: for headers, and for small artifacts."""

REUSE_AGE = timedelta(days=7)
"""Age up to which a zip is used again; an older zip might be deleted before a long download ends."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of an archive: the key of an object, or bytes."""

    part: str | bytes
    size: int
    crc32: int


@dataclass(frozen=True, slots=True)
class ZipComposer:
    """Composes zips of artifacts in the object store. Safe for concurrent use: composing a zip twice is harmless."""

    blobs: BlobStore
    direct: DirectTransfers
    largest_zip: int = LARGEST_ZIP_BYTES
    """Size of the largest zip that is composed, in bytes."""

    def compose(self, archive: ZipDownload) -> str:
        """Compose the archive's zip unless it exists; its key. Raises ContentMissing, TooLarge."""
        _check_cost(archive, min(self.largest_zip, LARGEST_ZIP_BYTES))
        composition = _Composition(self.blobs, self.direct)
        try:
            if composition.reusable(archive) is None:
                composition.store(archive)
        except ObjectNotFound:
            raise ContentMissing from None
        return zip_key(archive.artifact_hash)


@dataclass(frozen=True, slots=True)
class _Composition:
    """One zip that is being composed."""

    blobs: BlobStore
    direct: DirectTransfers
    inner: dict[str, _Piece] = field(default_factory=dict)
    """Nested archives by artifact hash: each is stored once, and is then a part wherever it occurs, like a content."""

    def reusable(self, archive: ZipDownload) -> ObjectInfo | None:
        """The archive's zip if it exists and is recent; an older one is deleted."""
        key = zip_key(archive.artifact_hash)
        try:
            info = self.blobs.objects.stat(key)
        except ObjectNotFound:
            return None
        if self.blobs.clock() - info.modified < REUSE_AGE:
            return info
        self.blobs.objects.delete(key)
        return None

    def store(self, archive: ZipDownload) -> list[_Piece]:
        """Compose the archive's zip; its pieces. Raises ObjectNotFound."""
        members = list(zip(archive.members, _inlined(archive), strict=True))
        for member, inline in members:
            if isinstance(member.source, ZipDownload) and not inline:
                self._store_inner(member.source)
        contents = parallel_map(self._piece, members, self.blobs.objects.concurrency)
        layout = ArchiveLayout()
        pieces: list[_Piece] = []
        for member, content in zip(archive.members, contents, strict=True):
            pieces += [_glue(layout.before(member, content.crc32)), content, _glue(layout.after(member, content.crc32))]
        pieces.append(_glue(layout.end()))
        self.direct.compose(zip_key(archive.artifact_hash), list(_joined(pieces)))
        return pieces

    def _store_inner(self, archive: ZipDownload) -> None:
        if archive.artifact_hash in self.inner:
            return
        key = zip_key(archive.artifact_hash)
        info = self.reusable(archive)
        crc32 = info.crc32 if info is not None else None
        if crc32 is None:
            crc32 = 0
            for piece in self.store(archive):
                crc32 = crc32_combine(crc32, piece.crc32, piece.size)
            self.direct.record_crc32(key, crc32)
        self.inner[archive.artifact_hash] = _Piece(key, archive.size, crc32)

    def _piece(self, member_and_inline: tuple[ArtifactMember, bool]) -> _Piece:
        member, inline = member_and_inline
        if inline:
            content = b"".join(member.read())
            check_size(member, len(content))
            return _glue(content)
        if isinstance(member.source, ZipDownload):
            return self.inner[member.source.artifact_hash]
        return _Piece(content_key(member.source.content_hash), member.size, self._crc32(member, member.source))

    def _crc32(self, member: ArtifactMember, content: ContentDownload) -> int:
        """The CRC-32 of a content; computed if the store has none, for example because WebGME wrote the content."""
        if content.crc32 is not None:
            return content.crc32
        crc32 = received = 0
        for chunk in member.read():
            crc32 = zlib.crc32(chunk, crc32)
            received += len(chunk)
        check_size(member, received)
        self.direct.record_crc32(content_key(content.content_hash), crc32)
        return crc32


def _check_cost(archive: ZipDownload, largest_zip: int) -> None:
    """Raises TooLarge if composing the zip would store far more than its contents: one document can name a large
    content many times, and nested artifacts are composed too."""
    contents: dict[str, int] = {}
    zips = {archive.artifact_hash: archive.size}
    waiting = [archive]
    while waiting:
        for member in waiting.pop().members:
            if isinstance(member.source, ContentDownload):
                contents[member.source.content_hash] = member.size
            elif member.source.artifact_hash not in zips:
                zips[member.source.artifact_hash] = member.size
                waiting.append(member.source)
    if archive.size > largest_zip or sum(zips.values()) > MAX_COPIES * sum(contents.values()) + FREE_BYTES:
        raise TooLarge("The zip of this artifact would be too large. Download its files one by one.")


def _inlined(archive: ZipDownload) -> list[bool]:
    """For each member, whether this program sends it as bytes."""
    left = MAX_INLINED_BYTES
    found = []
    for member in archive.members:
        inline = member.size <= min(MAX_INLINED_MEMBER_BYTES, left)
        left -= member.size if inline else 0
        found.append(inline)
    return found


def _glue(content: bytes) -> _Piece:
    return _Piece(content, len(content), zlib.crc32(content))


def _joined(pieces: list[_Piece]) -> Iterator[str | bytes]:
    """The parts, with adjacent bytes joined."""
    pending: list[bytes] = []
    pending_bytes = 0
    for piece in pieces:
        if pending and (isinstance(piece.part, str) or pending_bytes >= GLUE_BYTES):
            yield b"".join(pending)
            pending, pending_bytes = [], 0
        if isinstance(piece.part, str):
            yield piece.part
        elif piece.part:
            pending.append(piece.part)
            pending_bytes += piece.size
    if pending:
        yield b"".join(pending)
