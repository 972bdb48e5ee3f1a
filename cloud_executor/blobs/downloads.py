"""What a blob downloads to: the bytes of a file, or the zip of an artifact."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count

import msgspec

from cloud_executor.blobs.keys import content_key, manifest_key
from cloud_executor.blobs.store import READ_BYTES, BlobStore, ContentMissing, StoredBlob
from cloud_executor.blobs.zip_manifest import (
    ManifestEntry,
    ZipManifest,
    decode_manifest,
    encode_manifest,
    manifest_entry,
)
from cloud_executor.blobs.zip_writer import ZipMember, archive_chunks, archive_size
from cloud_executor.errors import NotFound, StorageFull, Unavailable
from cloud_executor.model.blobs.metadata import (
    BlobMetadata,
    ContentEntry,
    ContentType,
    parse_hash,
    read_content_entry,
    read_name,
)
from cloud_executor.model.blobs.zip_names import zip_names
from cloud_executor.parallel import parallel_map
from cloud_executor.ports import ObjectInfo, ObjectNotFound

MAX_LINK_DEPTH = 64
"""Maximum depth of soft links and nested artifacts that a download follows."""

MAX_INNER_ZIP_BYTES = 2**40
"""Maximum size of the zip of a nested artifact, in bytes; a few artifacts that contain each other many times would
exceed the size that a zip can have."""

MAX_LOOKUPS = 400_000
"""Maximum number of blobs and contents that one download looks up."""

MAX_PREPARATIONS = 100
"""Maximum number of new artifacts that wait for their manifests; the manifests of others are made when downloaded."""

MANIFEST_DOCUMENT_BYTES = 16 * 1024
"""Size of the metadata document from which an artifact gets a manifest, in bytes: about 170 files."""


class FileNotInArtifact(NotFound):
    """The artifact has no file of this name."""


class TooManyLinks(NotFound):
    """The soft links of this blob form a cycle, or there are too many."""


class ContentDownload(msgspec.Struct, frozen=True):
    """A download of stored bytes."""

    name: str
    size: int
    """Size in bytes."""
    content_hash: str
    crc32: int | None
    """CRC-32 of the bytes, if it is known."""

    @property
    def identity(self) -> str:
        """The same for the same bytes; suitable for an ETag."""
        return self.content_hash


class ZipDownload(msgspec.Struct, frozen=True):
    """A download of an artifact."""

    name: str
    artifact_hash: str
    members: Collection[ArtifactMember]
    size: int
    """Size in bytes."""

    @property
    def identity(self) -> str:
        return self.artifact_hash

    def chunks(self) -> Iterator[bytes]:
        return archive_chunks(self.members)


Download = ContentDownload | ZipDownload


class ArtifactMember(ZipMember, frozen=True):
    """One file of an artifact's zip."""

    source: Download


class _ListedMembers(Collection[ArtifactMember]):
    """The files that a manifest lists. Each is created when the iterator reaches it: there may be 100,000."""

    def __init__(self, entries: Sequence[ManifestEntry], member: Callable[[ManifestEntry], ArtifactMember]) -> None:
        self._entries = entries
        self._member = member

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[ArtifactMember]:
        return map(self._member, self._entries)

    def __contains__(self, member: object) -> bool:
        return any(member == listed for listed in self)


@dataclass(slots=True)
class _Known:
    """What one download has looked up so far. Two threads may look up the same thing, which is harmless."""

    members: dict[str, tuple[ArtifactMember, ...]] = field(default_factory=dict)
    """Members by artifact hash: each artifact is resolved once, however many links lead to it."""
    levels: dict[str, int] = field(default_factory=dict)
    """Depth of nested artifacts by artifact hash: the longest chain, including the artifact itself."""
    links: dict[str, Download] = field(default_factory=dict)
    """What each soft link leads to."""
    contents: dict[str, ObjectInfo] = field(default_factory=dict)
    lookups: count[int] = field(default_factory=count)

    def count_lookup(self) -> None:
        """Raises TooManyLinks."""
        if next(self.lookups) >= MAX_LOOKUPS:
            raise TooManyLinks


@dataclass(frozen=True, slots=True)
class _Trail:
    """The links that led to a blob."""

    followed: frozenset[str] = frozenset()
    outermost: bool = True
    """Whether the blob is outside of every artifact whose zip is being built."""
    known: _Known = field(default_factory=_Known)

    def follow(self, metadata_hash: str) -> _Trail:
        """The trail extended by one blob. Raises TooManyLinks."""
        if metadata_hash in self.followed or len(self.followed) >= MAX_LINK_DEPTH:
            raise TooManyLinks
        return _Trail(self.followed | {metadata_hash}, self.outermost, self.known)


@dataclass(frozen=True, slots=True)
class Downloads:
    """Resolves blobs to downloads. Safe for concurrent use."""

    blobs: BlobStore
    background: futures.Executor | None = None
    """Creates the manifests of new artifacts; None: the first download creates them."""
    _preparations: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(MAX_PREPARATIONS))

    def prepare(self, blob: StoredBlob) -> None:
        """Create the manifest of a new artifact in the background, so that its first download starts at once."""
        if self.background is not None and len(blob.canonical) >= MANIFEST_DOCUMENT_BYTES:
            if not self._preparations.acquire(blocking=False):
                return
            try:
                preparation = self.background.submit(self.resolve, blob.hash)
            except RuntimeError:  # the process is shutting down
                self._preparations.release()
            else:
                preparation.add_done_callback(lambda done: self._preparations.release())

    def resolve(self, metadata_hash: str, path: str | None = None) -> Download:
        """The download of a blob, or of the file at `path` in an artifact. Everything it needs is stored and now used.

        For an artifact with a manifest, everything was stored when the manifest was created. Raises BlobNotFound,
        FileNotInArtifact, ContentMissing, TooManyLinks.
        """
        stored = self.blobs.metadata(metadata_hash, is_used=True)
        uses_manifest = path is None and len(stored.canonical) >= MANIFEST_DOCUMENT_BYTES
        if uses_manifest and (found := self._from_manifest(stored)) is not None:
            return found
        blob = stored.metadata
        name = path.rpartition("/")[2] if path else blob.name or ""
        download = self._resolve(metadata_hash, blob, path, name, _Trail())
        if uses_manifest:
            # The manifest only speeds up the next download: this one works without it.
            with suppress(StorageFull, Unavailable):
                self.blobs.objects.put_all(_manifest(metadata_hash, download))
        return download

    def _from_manifest(self, stored: StoredBlob) -> ZipDownload | None:
        """The zip of an artifact that has a manifest."""
        name = read_name(stored.canonical)
        try:
            manifest = decode_manifest(self.blobs.objects.read(manifest_key(stored.hash))[0])
        except ObjectNotFound:
            return None
        if name is None or manifest is None:
            return None
        return ZipDownload(name, stored.hash, _ListedMembers(manifest.entries, self._listed_member), manifest.zip_bytes)

    def _listed_member(self, entry: ManifestEntry) -> ArtifactMember:
        source = ContentDownload(entry.name, entry.size, entry.content_hash, entry.crc32)
        return ArtifactMember(source.name, source.size, partial(self._read_content, source.content_hash), source)

    def _resolve(self, metadata_hash: str, blob: BlobMetadata, path: str | None, name: str, trail: _Trail) -> Download:
        trail = trail.follow(metadata_hash)
        if blob.content_type is None:
            raise ContentMissing
        if blob.content_type != ContentType.COMPLEX:
            return self._resolve_entry(ContentEntry(blob.content_hash, blob.content_type), path, name, trail)
        if path is None:
            members = self._members(metadata_hash, blob, trail)
            return ZipDownload(name, metadata_hash, members, archive_size(members))
        entry = blob.files.get(path)
        if entry is None:
            raise FileNotInArtifact
        return self._resolve_entry(entry, None, name, trail)

    def _resolve_entry(self, entry: ContentEntry, path: str | None, name: str, trail: _Trail) -> Download:
        if entry.content_type == ContentType.OBJECT:
            info = trail.known.contents.get(entry.content_hash)
            if info is None:
                trail.known.count_lookup()
                info = trail.known.contents[entry.content_hash] = self._content_info(entry.content_hash, name)
            return ContentDownload(name, info.size, entry.content_hash, info.crc32)
        if entry.content_type != ContentType.SOFT_LINK:
            raise ContentMissing.of(entry.content_hash, name)
        if path is not None:
            return self._follow(entry, path, name, trail)
        found = trail.known.links.get(entry.content_hash)
        if found is None:
            found = trail.known.links[entry.content_hash] = self._follow(entry, None, name, trail)
        return found if found.name == name else msgspec.structs.replace(found, name=name)

    def _follow(self, entry: ContentEntry, path: str | None, name: str, trail: _Trail) -> Download:
        """What a soft link leads to."""
        trail.known.count_lookup()
        try:
            stored = self.blobs.metadata(entry.content_hash)
            content = read_content_entry(stored.canonical)
            if content is None:
                blob = stored.metadata
        except NotFound:
            raise ContentMissing.of(entry.content_hash, name) from None
        if content is None:
            return self._resolve(entry.content_hash, blob, path, name, trail)
        return self._resolve_entry(content, path, name, trail.follow(entry.content_hash))

    def _members(self, artifact_hash: str, blob: BlobMetadata, trail: _Trail) -> tuple[ArtifactMember, ...]:
        known = trail.known
        inside = replace(trail, outermost=False)

        def member(path_and_name: tuple[str, str]) -> ArtifactMember:
            path, name = path_and_name
            found = self._resolve_entry(blob.files[path], None, path, inside)
            if isinstance(found, ZipDownload):
                if found.size > MAX_INNER_ZIP_BYTES or known.levels[found.artifact_hash] >= MAX_LINK_DEPTH:
                    raise TooManyLinks
                return ArtifactMember(name, found.size, found.chunks, found)
            read = partial(self._read_content, found.content_hash)
            return ArtifactMember(name, found.size, read, found)

        if artifact_hash not in known.members:
            # Only the outermost artifact uses several threads: nested artifacts would multiply them.
            named = list(zip(blob.files, zip_names(list(blob.files)), strict=True))
            concurrency = self.blobs.objects.concurrency if trail.outermost else 1
            members = tuple(parallel_map(member, named, concurrency))
            zips = [found.source for found in members if isinstance(found.source, ZipDownload)]
            inner = [known.levels[found.artifact_hash] for found in zips]
            known.levels[artifact_hash] = 1 + max(inner, default=0)
            known.members[artifact_hash] = members
        return known.members[artifact_hash]

    def _content_info(self, content_hash: str, name: str) -> ObjectInfo:
        try:
            return self.blobs.objects.stat(content_key(parse_hash(content_hash)))
        except NotFound:
            raise ContentMissing.of(content_hash, name) from None

    def _read_content(self, content_hash: str) -> Iterator[bytes]:
        with self.blobs.open_content(content_hash) as content:
            while chunk := content.read(READ_BYTES):
                yield chunk


def _manifest(metadata_hash: str, download: Download) -> dict[str, bytes]:
    """The manifest to store, by its key; empty for a link, and for an artifact that contains artifacts."""
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
