"""The blob store: content addressing, artifacts and their zips, over an object store.

Keys are WebGME's own, so that a blob folder of WebGME can be taken over as it is: `wg-content/<2 hex>/<38 hex>` (bytes
by their SHA-1), `wg-metadata/<2>/<38>` (canonical metadata by its SHA-1), `wg-temp/<uuid>` (uploads in flight). Ours
are `wg-zip/<2>/<38>.zip` (zips of artifacts that were composed in the store) and `wg-zip/<2>/<38>.manifest` (lists of
what is in them).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain, islice
from typing import BinaryIO

import msgspec

from cloud_executor.blobs.zip_manifest import (
    ManifestEntry,
    ZipManifest,
    decode_manifest,
    encode_manifest,
    manifest_entry,
)
from cloud_executor.blobs.zip_writer import ZipMember, archive_chunks, archive_size, member_name
from cloud_executor.errors import NotFound, StorageFull, TooLarge, Unavailable
from cloud_executor.model.metadata import (
    BlobMetadata,
    ContentEntry,
    ContentType,
    metadata_answer,
    parse_hash,
    read_content_entry,
    read_name,
)
from cloud_executor.parallel import parallel_map
from cloud_executor.ports import DirectTransfers, ObjectInfo, ObjectNotFound, ObjectStore

SMALL_CONTENT_BYTES = 1024 * 1024
"""contents up to this size are hashed before they are stored, and so need no temporary object"""

READ_BYTES = 256 * 1024
"""how much of a content is read at a time"""

MAX_LINK_DEPTH = 64
"""soft links and artifacts in artifacts that are followed"""

MAX_INNER_ZIP_BYTES = 2**40
"""of an artifact in an artifact; a few that hold each other many times would be larger than any zip can be"""

TEMPORARY_LIFETIME = timedelta(days=1)
"""how long an upload may take before its remains are deleted"""

ZIP_LIFETIME = timedelta(days=8)
"""how long a composed zip, or a manifest, is kept; it is made anew for whoever asks later"""

MANIFEST_DOCUMENT_BYTES = 16 * 1024
"""from this size on of the metadata document, about 170 files, an artifact has a manifest"""

DELETED_AT_ONCE = 1000
"""objects that one call clears away; the next one goes on"""

MAX_ASKED = 10_000
"""contents that can be asked for at once"""


class BlobNotFound(NotFound):
    """No blob has this hash."""


class FileNotInArtifact(NotFound):
    """The artifact has no file of this name."""


class ContentMissing(NotFound):
    """A part of this blob is not stored: upload it first."""


class TooManyLinks(NotFound):
    """The links of this blob lead nowhere: they are a circle, or too many."""


class StoredBlob(msgspec.Struct, frozen=True):
    """A blob's metadata document as it is stored."""

    hash: str
    canonical: bytes
    last_modified: datetime

    @property
    def metadata(self) -> BlobMetadata:
        """Raises NotFound if the document, stored by somebody else, makes no sense."""
        return BlobMetadata.from_canonical(self.canonical)

    def answer(self) -> bytes:
        """The document as the API shows it: JSON, with `lastModified`."""
        return metadata_answer(self.canonical, self.last_modified)


class ContentDownload(msgspec.Struct, frozen=True):
    """A download of stored bytes."""

    name: str
    size: int
    content_hash: str
    crc32: int | None
    """of the bytes, if it is known"""

    @property
    def identity(self) -> str:
        """The same for the same bytes, fit for an ETag."""
        return self.content_hash


class ZipDownload(msgspec.Struct, frozen=True):
    """A download of an artifact."""

    name: str
    artifact_hash: str
    members: Collection[ArtifactMember]
    size: int
    """bytes"""

    @property
    def identity(self) -> str:
        return self.artifact_hash

    def chunks(self) -> Iterator[bytes]:
        return archive_chunks(self.members)


class ArtifactMember(ZipMember, frozen=True):
    """One file of an artifact's zip."""

    source: ContentDownload | ZipDownload


class _ListedMembers(Collection[ArtifactMember]):
    """The files that a manifest lists, each made when it is come to: there may be a hundred thousand."""

    def __init__(self, entries: Sequence[ManifestEntry], member: Callable[[ManifestEntry], ArtifactMember]) -> None:
        self._entries = entries
        self._member = member

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[ArtifactMember]:
        return map(self._member, self._entries)

    def __contains__(self, member: object) -> bool:
        return any(member == listed for listed in self)


@dataclass(frozen=True, slots=True)
class _Way:
    """How a download came to a blob."""

    followed: frozenset[str] = frozenset()
    outermost: bool = True
    """whether it is in no artifact whose zip is made"""
    members: dict[str, tuple[ArtifactMember, ...]] = field(default_factory=dict)
    """of artifacts, by hash: each is looked through once, however many links lead to it"""

    def to(self, metadata_hash: str) -> _Way:
        """The way one step on. Raises TooManyLinks."""
        if metadata_hash in self.followed or len(self.followed) >= MAX_LINK_DEPTH:
            raise TooManyLinks
        return _Way(self.followed | {metadata_hash}, self.outermost, self.members)


@dataclass(frozen=True, slots=True)
class BlobStore:
    """Every use case of the blob API. Safe for concurrent use."""

    objects: ObjectStore
    clock: Callable[[], datetime]
    direct: DirectTransfers | None = None
    """what `objects` can do besides, if anything"""
    background: Executor | None = None
    """makes the manifests of new artifacts; None: their first download does"""

    # Storing ------------------------------------------------------------------------------------------------------

    def create_file(self, name: str, chunks: Iterable[bytes]) -> StoredBlob:
        """Store a file durably. If `chunks` raises, because an upload broke off, nothing becomes a blob."""
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
        blob = self._new(BlobMetadata.for_file(name, size, content_hash))
        self.objects.put_all({content_key(content_hash): content, metadata_key(blob.hash): blob.canonical})
        return blob

    def create_metadata(self, metadata: BlobMetadata) -> StoredBlob:
        """Store a metadata document durably; what it points to need not be there."""
        blob = self._new(metadata)
        self.objects.put(metadata_key(blob.hash), (blob.canonical,))
        if self.background is not None and len(blob.canonical) >= MANIFEST_DOCUMENT_BYTES:
            with suppress(RuntimeError):  # this process is ending
                self.background.submit(self.download, blob.hash)
        return blob

    def _put_large_content(self, chunks: Iterator[bytes]) -> tuple[str, int]:
        digest = hashlib.sha1(usedforsecurity=False)
        size = 0

        def hashed() -> Iterator[bytes]:
            nonlocal size
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                yield chunk

        temporary = f"wg-temp/{uuid.uuid4()}"
        self.objects.put(temporary, hashed())
        content_hash = digest.hexdigest()
        self.objects.move(temporary, content_key(content_hash))
        return content_hash, size

    def _new(self, metadata: BlobMetadata) -> StoredBlob:
        return StoredBlob(metadata.hash, metadata.canonical, self.clock())

    # Reading ------------------------------------------------------------------------------------------------------

    def metadata(self, metadata_hash: str) -> StoredBlob:
        """Raises BlobNotFound, also for what is no hash."""
        try:
            stored, info = self.objects.read(metadata_key(parse_hash(metadata_hash)))
        except NotFound:
            raise BlobNotFound from None
        if not stored.startswith(b"{"):
            raise BlobNotFound  # some other file
        return StoredBlob(metadata_hash, stored, info.modified)

    def list_metadata(self, *, everything: bool) -> Iterator[StoredBlob]:
        """The public blobs, or all; read while they are consumed."""
        for info in self.objects.list("wg-metadata/"):
            try:
                blob = self.metadata(info.key.removeprefix("wg-metadata/").replace("/", ""))
                if everything or blob.metadata.is_public:
                    yield blob
            except NotFound:
                continue  # some other file, or a document that leads nowhere

    def download(self, metadata_hash: str, path: str | None = None) -> ContentDownload | ZipDownload:
        """What a blob, or the file at `path` in an artifact, gives: everything is there, down to the last content.

        Of an artifact with a manifest it was there when that was made. Raises BlobNotFound, FileNotInArtifact,
        ContentMissing, TooManyLinks.
        """
        stored = self.metadata(metadata_hash)
        listed = path is None and len(stored.canonical) >= MANIFEST_DOCUMENT_BYTES
        if listed and (found := self._listed_download(stored)) is not None:
            return found
        blob = stored.metadata
        name = path.rpartition("/")[2] if path else blob.name or ""
        download = self._resolve(metadata_hash, blob, path, name, _Way())
        if listed:
            # It is a help for the next download: this one works without.
            with suppress(StorageFull, Unavailable):
                self.objects.put_all(_manifest(metadata_hash, download))
        return download

    def _listed_download(self, stored: StoredBlob) -> ZipDownload | None:
        """The zip of an artifact that has a manifest."""
        name = read_name(stored.canonical)
        try:
            manifest = decode_manifest(self.objects.read(manifest_key(stored.hash))[0])
        except ObjectNotFound:
            return None
        if name is None or manifest is None:
            return None
        return ZipDownload(name, stored.hash, _ListedMembers(manifest.entries, self._listed_member), manifest.zip_bytes)

    def _listed_member(self, entry: ManifestEntry) -> ArtifactMember:
        source = ContentDownload(entry.name, entry.size, entry.content_hash, entry.crc32)
        return ArtifactMember(source.name, source.size, partial(self._read_content, source.content_hash), source)

    def open_content(self, content_hash: str, start: int = 0) -> AbstractContextManager[BinaryIO]:
        """The bytes of a content from offset `start` on. Raises ContentMissing."""
        try:
            return self.objects.open(content_key(content_hash), start)
        except ObjectNotFound:
            raise ContentMissing from None

    def has_content(self, content_hash: str) -> bool:
        try:
            self.objects.stat(content_key(content_hash))
        except ObjectNotFound:
            return False
        return True

    def missing(self, content_hashes: Collection[str]) -> list[str]:
        """Which of these contents are not stored; each once, in the order given. Raises TooLarge."""
        if len(content_hashes) > MAX_ASKED:
            raise TooLarge(f"At most {MAX_ASKED} contents can be asked for at once.")
        asked = list(dict.fromkeys(content_hashes))
        found = parallel_map(self.has_content, asked, self.objects.concurrency)
        return [content_hash for content_hash, there in zip(asked, found, strict=True) if not there]

    def _resolve(
        self, metadata_hash: str, blob: BlobMetadata, path: str | None, name: str, way: _Way
    ) -> ContentDownload | ZipDownload:
        way = way.to(metadata_hash)
        if blob.content_type is None:
            raise ContentMissing
        if blob.content_type != ContentType.COMPLEX:
            return self._resolve_entry(ContentEntry(blob.content_hash, blob.content_type), path, name, way)
        if path is None:
            members = self._members(metadata_hash, blob, way)
            return ZipDownload(name, metadata_hash, members, archive_size(members))
        entry = blob.files.get(path)
        if entry is None:
            raise FileNotInArtifact
        return self._resolve_entry(entry, None, name, way)

    def _resolve_entry(
        self, entry: ContentEntry, path: str | None, name: str, way: _Way
    ) -> ContentDownload | ZipDownload:
        if entry.content_type == ContentType.OBJECT:
            info = self._content_info(entry.content_hash)
            return ContentDownload(name, info.size, entry.content_hash, info.crc32)
        if entry.content_type != ContentType.SOFT_LINK:
            raise ContentMissing
        try:
            stored = self.metadata(entry.content_hash)
            content = read_content_entry(stored.canonical)
            if content is None:
                blob = stored.metadata
        except NotFound:
            raise ContentMissing from None
        if content is None:
            return self._resolve(entry.content_hash, blob, path, name, way)
        return self._resolve_entry(content, path, name, way.to(entry.content_hash))

    def _members(self, artifact_hash: str, blob: BlobMetadata, way: _Way) -> tuple[ArtifactMember, ...]:
        inside = replace(way, outermost=False)

        def member(path: str) -> ArtifactMember:
            found = self._resolve_entry(blob.files[path], None, path, inside)
            if isinstance(found, ZipDownload):
                if found.size > MAX_INNER_ZIP_BYTES:
                    raise TooManyLinks
                return ArtifactMember(member_name(path), found.size, found.chunks, found)
            read = partial(self._read_content, found.content_hash)
            return ArtifactMember(member_name(path), found.size, read, found)

        if artifact_hash not in way.members:
            # With several threads for the outermost artifact alone: those in it would multiply them.
            concurrency = self.objects.concurrency if way.outermost else 1
            way.members[artifact_hash] = tuple(parallel_map(member, blob.files, concurrency))
        return way.members[artifact_hash]

    def _content_info(self, content_hash: str) -> ObjectInfo:
        try:
            return self.objects.stat(content_key(parse_hash(content_hash)))
        except NotFound:
            raise ContentMissing from None

    def _read_content(self, content_hash: str) -> Iterator[bytes]:
        with self.open_content(content_hash) as content:
            while chunk := content.read(READ_BYTES):
                yield chunk

    # Upkeep -------------------------------------------------------------------------------------------------------

    def delete_abandoned_uploads(self) -> int:
        """Remove some of what uploads that broke off left behind more than a day ago; how much."""
        return self._delete_older("wg-temp/", TEMPORARY_LIFETIME)

    def delete_old_zips(self) -> int:
        """Remove some of the composed zips that were made more than eight days ago; how many."""
        return self._delete_older("wg-zip/", ZIP_LIFETIME)

    def _delete_older(self, prefix: str, lifetime: timedelta) -> int:
        made_before = self.clock() - lifetime
        old = (info.key for info in self.objects.list(prefix) if info.modified < made_before)
        keys = list(islice(old, DELETED_AT_ONCE))
        for _ in parallel_map(self.objects.delete, keys, self.objects.concurrency):
            pass
        return len(keys)


def content_key(content_hash: str) -> str:
    return f"wg-content/{content_hash[:2]}/{content_hash[2:]}"


def metadata_key(metadata_hash: str) -> str:
    return f"wg-metadata/{metadata_hash[:2]}/{metadata_hash[2:]}"


def manifest_key(artifact_hash: str) -> str:
    return f"wg-zip/{artifact_hash[:2]}/{artifact_hash[2:]}.manifest"


def _manifest(metadata_hash: str, download: ContentDownload | ZipDownload) -> dict[str, bytes]:
    """The manifest to store, by its key; of a link, and of an artifact that holds artifacts, none."""
    if not isinstance(download, ZipDownload) or download.artifact_hash != metadata_hash:
        return {}
    entries = [
        manifest_entry(member.name, member.source.content_hash, member.source.size, member.source.crc32)
        for member in download.members
        if isinstance(member.source, ContentDownload)
    ]
    if len(entries) < len(download.members):
        return {}
    return {manifest_key(metadata_hash): encode_manifest(ZipManifest(download.size, entries))}


def zip_key(artifact_hash: str) -> str:
    return f"wg-zip/{artifact_hash[:2]}/{artifact_hash[2:]}.zip"
