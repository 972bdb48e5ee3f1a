"""Uploads that go past this program, straight to the object store, and become blobs once they are verified.

An upload in flight is `wg-temp/<id>`. Once it is verified `wg-temp/<id>.verified` says what it was, so that completing
it again, because the answer was lost, gives the same answer.
"""

from __future__ import annotations

import hashlib
import json
import uuid
import zlib
from dataclasses import dataclass

from cloud_executor.blobs.keys import content_key, temporary_key
from cloud_executor.blobs.store import READ_BYTES, BlobStore, StoredBlob
from cloud_executor.errors import Invalid, NotFound, TooLarge
from cloud_executor.model.metadata import BlobMetadata
from cloud_executor.ports import DirectTransfers, ObjectInfo, ObjectNotFound

LARGEST_UPLOAD_BYTES = 5 * 2**40
"""that Cloud Storage keeps as one object"""

LONGEST_NOTE = 4096
"""characters of what is kept beside an upload: Cloud Storage takes 8 KiB with all else"""


class UploadNotFound(NotFound):
    """There is no such upload, or nothing has come of it yet: send all its bytes, or begin anew."""


class UploadDiffers(Invalid):
    """The bytes that came are not those that were announced; they were deleted: begin anew."""


@dataclass(frozen=True, slots=True)
class UploadSession:
    """Where the bytes of an upload go."""

    id: str
    url: str
    """of a resumable session"""


@dataclass(frozen=True, slots=True)
class _Announced:
    """What an upload is said to be, or was found to be."""

    name: str
    size: int
    sha1: str | None

    def note(self) -> str:
        return json.dumps([self.name, self.size, self.sha1])

    @classmethod
    def of(cls, note: str) -> _Announced:
        name, size, sha1 = json.loads(note)
        return cls(name, size, sha1)


@dataclass(frozen=True, slots=True)
class DirectUploads:
    """The use cases of direct uploads. Safe for concurrent use."""

    blobs: BlobStore
    direct: DirectTransfers

    def begin(self, name: str, size: int, sha1: str | None, origin: str | None) -> StoredBlob | UploadSession:
        """The blob, if these bytes are stored already; else where to send them.

        `origin`: of the browser page that will send them. Raises Invalid, TooLarge.
        """
        if size > LARGEST_UPLOAD_BYTES:
            raise TooLarge("A file can have at most 5 TiB.")
        if sha1 is not None:
            try:
                stored = self.blobs.objects.stat(content_key(sha1))
            except ObjectNotFound:
                pass
            else:
                if stored.size != size:
                    raise Invalid(f"size must be {stored.size}: that many bytes have this sha1.")
                return self.blobs.create_metadata(BlobMetadata.for_file(name, size, sha1))
        upload_id = str(uuid.uuid4())
        note = _Announced(name, size, sha1).note()
        if len(note) > LONGEST_NOTE:
            raise Invalid("The name is too long.")
        return UploadSession(upload_id, self.direct.upload_url(_upload_key(upload_id), size, note, origin))

    def complete(self, upload_id: str) -> StoredBlob:
        """Verify all the bytes and make them a blob, durably. May be repeated.

        Raises UploadNotFound, and UploadDiffers, which leaves nothing.
        """
        if not _is_upload_id(upload_id):
            raise UploadNotFound
        key = _upload_key(upload_id)
        try:
            verified = self._verify(key, self.blobs.objects.stat(key))
        except ObjectNotFound:
            return self._completed(key)
        return self.blobs.create_metadata(BlobMetadata.for_file(*verified))

    def _verify(self, key: str, info: ObjectInfo) -> tuple[str, int, str]:
        """Move the bytes to their place. Raises ObjectNotFound if they are there already."""
        if info.note is None:
            raise UploadNotFound  # what another request is just storing
        announced = _Announced.of(info.note)
        digest = hashlib.sha1(usedforsecurity=False)
        crc32 = 0
        if info.size == announced.size:
            with self.blobs.objects.open(key) as content:
                while chunk := content.read(READ_BYTES):
                    digest.update(chunk)
                    crc32 = zlib.crc32(chunk, crc32)
        sha1 = digest.hexdigest()
        if info.size != announced.size or announced.sha1 not in (None, sha1):
            self.blobs.objects.delete(key)
            raise UploadDiffers
        verified = _Announced(announced.name, announced.size, sha1)
        self.blobs.objects.put(_verified_key(key), (verified.note().encode(),))
        self.blobs.objects.move(key, content_key(sha1))
        self.direct.record_crc32(content_key(sha1), crc32)
        return announced.name, announced.size, sha1

    def _completed(self, key: str) -> StoredBlob:
        """The answer to an upload that is in its place. Raises UploadNotFound."""
        try:
            stored, _ = self.blobs.objects.read(_verified_key(key))
        except ObjectNotFound:
            raise UploadNotFound from None
        verified = _Announced.of(stored.decode())
        if verified.sha1 is None or not self.blobs.has_content(verified.sha1):
            raise UploadNotFound
        return self.blobs.create_metadata(BlobMetadata.for_file(verified.name, verified.size, verified.sha1))


def _is_upload_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _upload_key(upload_id: str) -> str:
    return temporary_key(upload_id)


def _verified_key(key: str) -> str:
    return f"{key}.verified"
