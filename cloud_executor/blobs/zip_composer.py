"""Zips of artifacts that the object store joins from what it holds already, so that no content comes through here.

They are the bytes that `archive_chunks` gives for the same artifact, so either may continue what the other began. What
stands between the contents, small contents too, is passed along as bytes. Kept as `wg-zip/<2 hex>/<38 hex>.zip`.
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

INLINED_BYTES = 64 * 1024
"""contents up to this size are read: that costs a call, and so would a separate object for what is between them"""

ALL_INLINED_BYTES = 64 * 1024 * 1024
"""of all such contents of one archive: they are held in memory"""

GLUE_BYTES = 8 * 1024 * 1024
"""of one piece of bytes, about"""

LARGEST_ZIP_BYTES = 5 * 2**40
"""that Cloud Storage keeps as one object"""

FRESH = timedelta(days=7)
"""a zip that is older is made anew before anybody is sent to it, so that it stays as long as a download may take"""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of an archive: an object, or bytes."""

    part: str | bytes
    size: int
    crc32: int


@dataclass(frozen=True, slots=True)
class ZipComposer:
    """Makes zips of artifacts inside the object store. Safe for concurrent use: a zip made twice is the same one."""

    blobs: BlobStore
    direct: DirectTransfers

    def compose(self, archive: ZipDownload) -> str:
        """The key of the archive's zip, which is there then. Raises ContentMissing, TooLarge."""
        if archive.size > LARGEST_ZIP_BYTES:
            raise TooLarge("The zip of this artifact would be larger than 5 TiB: download its files one by one.")
        composition = _Composition(self.blobs, self.direct)
        try:
            if composition.lasting(archive) is None:
                composition.store(archive)
        except ObjectNotFound:
            raise ContentMissing from None
        return zip_key(archive.artifact_hash)


@dataclass(frozen=True, slots=True)
class _Composition:
    """The making of one zip."""

    blobs: BlobStore
    direct: DirectTransfers
    inner: dict[str, _Piece] = field(default_factory=dict)
    """the archives in it, by hash: each is stored once, and is then a part as contents are, wherever it occurs"""

    def lasting(self, archive: ZipDownload) -> ObjectInfo | None:
        """The archive's zip, if one is there that will stay for a while."""
        key = zip_key(archive.artifact_hash)
        try:
            info = self.blobs.objects.stat(key)
        except ObjectNotFound:
            return None
        if self.blobs.clock() - info.modified < FRESH:
            return info
        self.blobs.objects.delete(key)
        return None

    def store(self, archive: ZipDownload) -> list[_Piece]:
        """Make the archive's zip; what it is made of. Raises ObjectNotFound."""
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
        info = self.lasting(archive)
        crc32 = info.crc32 if info is not None else None
        if crc32 is None:
            crc32 = 0
            for piece in self.store(archive):
                crc32 = crc32_combine(crc32, piece.crc32, piece.size)
            self.direct.record_crc32(key, crc32)
        self.inner[archive.artifact_hash] = _Piece(key, archive.size, crc32)

    def _piece(self, wanted: tuple[ArtifactMember, bool]) -> _Piece:
        member, inline = wanted
        if inline:
            content = b"".join(member.read())
            check_size(member, len(content))
            return _glue(content)
        if isinstance(member.source, ZipDownload):
            return self.inner[member.source.artifact_hash]
        return _Piece(content_key(member.source.content_hash), member.size, self._crc32(member, member.source))

    def _crc32(self, member: ArtifactMember, content: ContentDownload) -> int:
        """Of a content; computed for one that came another way than by an upload, such as from a WebGME."""
        if content.crc32 is not None:
            return content.crc32
        crc32 = received = 0
        for chunk in member.read():
            crc32 = zlib.crc32(chunk, crc32)
            received += len(chunk)
        check_size(member, received)
        self.direct.record_crc32(content_key(content.content_hash), crc32)
        return crc32


def _inlined(archive: ZipDownload) -> list[bool]:
    """Which members travel as bytes."""
    left = ALL_INLINED_BYTES
    found = []
    for member in archive.members:
        inline = member.size <= min(INLINED_BYTES, left)
        left -= member.size if inline else 0
        found.append(inline)
    return found


def _glue(content: bytes) -> _Piece:
    return _Piece(content, len(content), zlib.crc32(content))


def _joined(pieces: list[_Piece]) -> Iterator[str | bytes]:
    """The parts, with neighbouring bytes in one."""
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
