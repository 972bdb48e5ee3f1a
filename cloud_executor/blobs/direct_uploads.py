"""Uploads that clients send directly to the object store and that become blobs once they are verified.

An upload in flight is the object `wg-temp/<id>`. Once it is verified, `wg-temp/<id>.verified` describes it, so that a
client that lost the response can complete the upload again and gets the same response.
"""

from __future__ import annotations

import hashlib
import json
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from cloud_executor.blobs.keys import content_key, temporary_key
from cloud_executor.blobs.store import READ_BYTES, BlobStore, ContentDiffers, StoredBlob
from cloud_executor.errors import Invalid, NotFound, TooLarge
from cloud_executor.model.access.owner import GUEST
from cloud_executor.model.blobs.metadata import BlobMetadata
from cloud_executor.ports import DirectTransfers, ObjectInfo, ObjectNotFound

LARGEST_UPLOAD_BYTES = 256 * 2**30
"""Largest upload, in bytes: a function has an hour to read and hash it, so 75 MiB per second are enough."""

MAX_NOTE_LENGTH = 4096
"""Maximum length of an upload's note, in characters: Cloud Storage allows 8 KiB for all metadata of an object."""


class UploadNotFound(NotFound):
    """This upload does not exist or has not received its bytes. Send all the bytes, or start a new upload."""


class UploadDiffers(Invalid):
    """The received bytes differ from the announced size or sha1 and were deleted. Start a new upload."""


@dataclass(frozen=True, slots=True)
class UploadSession:
    """An upload that the client can send."""

    id: str
    url: str
    """URL of the resumable session that receives the bytes."""


@dataclass(frozen=True, slots=True)
class _Description:
    """The name, size, and hash of an upload, as announced or as verified."""

    name: str
    size: int
    sha1: str | None
    user: str = GUEST
    """The user that began the upload."""

    def note(self) -> str:
        user = () if self.user == GUEST else (self.user,)
        return json.dumps([self.name, self.size, self.sha1, *user])

    @classmethod
    def of(cls, note: str) -> _Description:
        return cls(*json.loads(note))


@dataclass(frozen=True, slots=True)
class DirectUploads:
    """The use cases of direct uploads. Safe for concurrent use."""

    blobs: BlobStore
    direct: DirectTransfers

    def begin(
        self,
        name: str,
        size: int,
        sha1: str | None,
        origin: str | None,
        user: str = GUEST,
        *,
        may_have: Callable[[str], bool] = lambda _: True,
    ) -> StoredBlob | UploadSession:
        """The blob if its bytes are already stored; otherwise a session for sending them.

        `origin` is the origin of the web page that will send them. `may_have` returns whether the user may get a stored
        content by its hash. Raises Invalid, TooLarge.
        """
        if size > LARGEST_UPLOAD_BYTES:
            raise TooLarge(f"The file must not be larger than {LARGEST_UPLOAD_BYTES // 2**30} GiB.")
        if sha1 is not None and may_have(sha1):
            try:
                stored = self.blobs.objects.use(content_key(sha1))
            except ObjectNotFound:
                pass
            else:
                # With another size, the upload fails when it is complete: the caller need not learn the size.
                if stored.size == size:
                    return self.blobs.create_metadata(BlobMetadata.for_file(name, size, sha1))
        upload_id = str(uuid.uuid4())
        note = _Description(name, size, sha1, user).note()
        if len(note) > MAX_NOTE_LENGTH:
            raise Invalid("The name is too long; choose a shorter one.")
        return UploadSession(upload_id, self.direct.upload_url(_upload_key(upload_id), size, note, origin))

    def complete(self, upload_id: str, user: str = GUEST) -> StoredBlob:
        """Verify all the bytes of an upload of this user, and store them durably as a blob. Safe to repeat.

        Raises UploadNotFound, or UploadDiffers or ContentDiffers, in which case the bytes are deleted.
        """
        if not _is_upload_id(upload_id):
            raise UploadNotFound
        key = _upload_key(upload_id)
        try:
            verified = self._verify(key, self.blobs.objects.stat(key), user)
        except ObjectNotFound:
            return self._completed(key, user)
        return self.blobs.create_metadata(BlobMetadata.for_file(*verified))

    def _verify(self, key: str, info: ObjectInfo, user: str) -> tuple[str, int, str]:
        """Move the bytes to their content key. Raises ObjectNotFound if another call already moved them."""
        if info.note is None:
            raise UploadNotFound  # the temporary object of a createFile in flight
        announced = _Description.of(info.note)
        if announced.user != user:
            raise UploadNotFound
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
        verified = _Description(announced.name, announced.size, sha1, user)
        self.blobs.objects.put(_verified_key(key), (verified.note().encode(),))
        try:
            self.blobs.settle(key, sha1, crc32)
        except ContentDiffers:
            self.blobs.objects.delete(_verified_key(key))
            raise
        self.direct.record_crc32(content_key(sha1), crc32)
        return announced.name, announced.size, sha1

    def _completed(self, key: str, user: str) -> StoredBlob:
        """The blob of an upload that was already completed. Raises UploadNotFound."""
        try:
            stored, _ = self.blobs.objects.read(_verified_key(key))
        except ObjectNotFound:
            raise UploadNotFound from None
        verified = _Description.of(stored.decode())
        if verified.user != user or verified.sha1 is None or not self.blobs.has_content(verified.sha1):
            raise UploadNotFound
        return self.blobs.create_metadata(BlobMetadata.for_file(verified.name, verified.size, verified.sha1))


def _is_upload_id(value: str) -> bool:
    try:
        return str(uuid.UUID(value)) == value
    except ValueError:
        return False


def _upload_key(upload_id: str) -> str:
    return temporary_key(upload_id)


def _verified_key(key: str) -> str:
    return f"{key}.verified"
