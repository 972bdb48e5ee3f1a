"""Objects in a bucket of Google Cloud Storage.

A second bucket can hold the objects that are deleted soon: uploads in flight and composed zips. The service joins
objects of one bucket only, so contents are copied there first, which moves no bytes if both buckets have the same
location and storage class.

The CRC-32 of an object's bytes, its last noted use, and the note of an upload in flight, are custom metadata. A write
succeeds only if the object does not exist, so repeating it changes nothing.
"""

from __future__ import annotations

import heapq
import logging
import os
import uuid
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from io import BufferedReader
from itertools import count
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import google.auth
from google.api_core.exceptions import (
    Conflict,
    Forbidden,
    InternalServerError,
    NotFound,
    PreconditionFailed,
    TooManyRequests,
)
from google.auth.credentials import AnonymousCredentials, Credentials, Signing
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud.storage import Blob, Client
from google.cloud.storage.exceptions import DataCorruption
from msgspec.structs import replace
from requests import Response
from requests.adapters import HTTPAdapter

from cloud_executor.backends.bucket import CONNECTIONS, READ_BYTES, BucketStore, modified_time
from cloud_executor.backends.google.storage.errors import CALL, RETRY, TIMEOUT, storage_errors
from cloud_executor.backends.google.storage.reader import GcsReader
from cloud_executor.backends.google.storage.upload import GcsUpload
from cloud_executor.backends.lazy import Lazy
from cloud_executor.errors import CloudExecutorError, Unavailable
from cloud_executor.parallel import parallel_map
from cloud_executor.ports import USE_NOTED_AFTER, ObjectInfo, ObjectNotFound

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

PIECE_BYTES = 4 * 2**20
"""Size of a piece of an upload, in bytes. A smaller object is sent in one request."""

COMPOSED_AT_ONCE = 32
"""Largest number of objects that the service joins in one call."""

LISTED_AT_ONCE = 1000

STAGED = ("wg-temp/", "wg-zip/")
"""Prefixes of the objects in the staging bucket."""

# The scope of Cloud Storage is not enough: another service signs URLs.
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)

CONTENT_TYPE = "application/octet-stream"

_FIELDS = "items(name,size,timeCreated,metadata,generation,metageneration),nextPageToken"


class GcsObjectStore(BucketStore):
    """An ObjectStore in a bucket, with DirectTransfers.

    If `project` is None, the credentials of the environment name it. Without a `staging_bucket`, `bucket` holds all
    objects. STORAGE_EMULATOR_HOST selects an emulator.
    """

    def __init__(
        self,
        bucket: str,
        project: str | None,
        staging_bucket: str | None = None,
        use_noted_after: timedelta = USE_NOTED_AFTER,
    ) -> None:
        super().__init__(use_noted_after)
        self._bucket = bucket
        self._staging_bucket = staging_bucket or bucket
        self._project = project
        self._connection = Lazy(self._connect)

    def create(self) -> None:
        """Create the buckets of an emulator, unless they exist. In the cloud, Terraform creates them."""
        for bucket in {self._bucket, self._staging_bucket}:
            with storage_errors(), suppress(Conflict):
                self._connection.get().client.create_bucket(bucket, **CALL)

    def open(self, key: str, start: int = 0) -> BufferedReader:
        return BufferedReader(self._reader(key, start), READ_BYTES)

    def read(self, key: str) -> tuple[bytes, ObjectInfo]:
        with self._reader(key, 0) as reader:
            content = reader.readall()
            headers = reader.headers
        metadata = {name: headers.get(f"X-Goog-Meta-{name}") for name in ("crc32", "note", "used")}
        modified = parsedate_to_datetime(headers["Last-Modified"])
        info = _info(key, len(content), modified, metadata)
        return content, replace(info, used=_used(modified, metadata["used"]))

    def stat(self, key: str) -> ObjectInfo:
        blob = self._blob(key)
        with storage_errors(ObjectNotFound):
            blob.reload(**CALL)
        return _blob_info(blob)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        buckets = {self._bucket_of(prefix)}
        if any(staged.startswith(prefix) for staged in STAGED):
            buckets.add(self._staging_bucket)
        return heapq.merge(*(self._list(bucket, prefix) for bucket in buckets), key=lambda info: info.key)

    def _list(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        with storage_errors():
            blobs = iter(
                self._connection.get().client.list_blobs(
                    bucket, prefix=prefix, page_size=LISTED_AT_ONCE, fields=_FIELDS, **CALL
                )
            )
        while True:
            with storage_errors():
                blob = next(blobs, None)
            if blob is None:
                return
            yield _blob_info(blob)

    def delete(self, key: str) -> None:
        with storage_errors(), suppress(NotFound):
            self._blob(key).delete(**CALL)

    def delete_unused(self, info: ObjectInfo) -> bool:
        generation, _, metageneration = info.version.partition("/")
        with storage_errors():
            try:
                self._blob(info.key).delete(
                    if_generation_match=int(generation), if_metageneration_match=int(metageneration), **CALL
                )
            except NotFound:
                return True
            except PreconditionFailed:
                return False
        return True

    # DirectTransfers ----------------------------------------------------------------------------------------------

    def upload_url(self, key: str, size: int, note: str, origin: str | None) -> str:
        blob = self._blob(key)
        blob.metadata = {"note": note}
        with storage_errors():
            url: str = blob.create_resumable_upload_session(
                content_type=CONTENT_TYPE, size=size, origin=origin, if_generation_match=0, checksum=None, **CALL
            )
        return url

    def download_url(self, key: str, *, content_type: str, disposition: str | None, lifetime: timedelta) -> str:
        connection = self._connection.get()
        if isinstance(connection.credentials, AnonymousCredentials):
            return connection.media_url(self._bucket_of(key), key, _response_headers(content_type, disposition))
        with storage_errors():
            url: str = self._blob(key).generate_signed_url(
                version="v4",
                expiration=lifetime,
                response_type=content_type,
                response_disposition=disposition,
                **connection.signer(),
            )
        return url

    def record_crc32(self, key: str, crc32: int) -> None:
        blob = self._blob(key)
        blob.metadata = {"crc32": str(crc32)}
        with storage_errors(ObjectNotFound):
            blob.patch(**CALL)

    def compose(self, key: str, parts: Sequence[str | bytes]) -> None:
        if self._has(key):
            return
        names = count()
        temporary = f"wg-temp/{uuid.uuid4()}"
        made: list[str] = []

        def new_key() -> str:
            made.append(f"{temporary}-{next(names)}")
            return made[-1]

        try:
            glue = {new_key(): part for part in parts if isinstance(part, bytes)}
            glue_keys = iter(list(glue))
            copies = {part: new_key() for part in set(parts) if isinstance(part, str) and not self._is_staged(part)}
            keys = [copies.get(part, part) if isinstance(part, str) else next(glue_keys) for part in parts]
            self.put_all(glue)
            self._for_each(lambda item: self._rewrite(*item), copies.items())
            while len(keys) > COMPOSED_AT_ONCE:
                groups = {new_key(): group for group in _groups(keys)}
                self._for_each(lambda item: self._join(*item), groups.items())
                keys = list(groups)
            joined = key if self._is_staged(key) else new_key()
            self._join(joined, keys)
            if joined != key:
                self._rewrite(joined, key)
        finally:
            with suppress(CloudExecutorError):
                self._for_each(self.delete, made)

    # Steps --------------------------------------------------------------------------------------------------------

    def _piece_bytes(self, number: int) -> int:
        return PIECE_BYTES

    def _note_use(self, info: ObjectInfo) -> None:
        known: ObjectInfo | None = info

        def note() -> None:
            nonlocal known
            found, known = known or self.stat(info.key), None
            if found is not info and self._is_noted(found):
                return
            blob = self._blob(info.key)
            blob.metadata = {"used": datetime.now(UTC).isoformat()}
            generation, _, metageneration = found.version.partition("/")
            versions = {"if_generation_match": int(generation), "if_metageneration_match": int(metageneration)}
            try:
                blob.patch(**versions, timeout=TIMEOUT, retry=None)
            except PreconditionFailed as error:
                raise TooManyRequests("The object has changed since.") from error

        # The service allows about one change of an object per second, and many workers can use one at once. So each
        # retry first looks whether another one has noted a use. An object that was replaced in the meantime is new.
        with storage_errors(ObjectNotFound):
            try:
                RETRY(note)()
            except Forbidden:
                # The object is there. It is in danger only if old data is deleted in spite of missing permissions.
                logger.warning("the use of an object could not be noted", extra={"action": "use"}, exc_info=True)

    def _put_small(self, key: str, content: bytes) -> bool:
        blob = self._blob(key)
        blob.metadata = {"crc32": str(zlib.crc32(content))}
        with storage_errors():
            try:
                blob.upload_from_string(content, CONTENT_TYPE, if_generation_match=0, checksum="crc32c", **CALL)
            except PreconditionFailed:
                return False
            except Forbidden:
                # For an account that may not replace objects, the service can respond so if the object exists.
                if not self._has(key):
                    raise
                return False
        return True

    def _put_large(self, key: str, pieces: Iterator[bytes]) -> bool:
        with storage_errors():
            url = self._blob(key).create_resumable_upload_session(
                content_type=CONTENT_TYPE, if_generation_match=0, checksum=None, **CALL
            )
        upload = GcsUpload(self._connection.get().http, url)
        crc32 = 0
        try:
            piece = next(pieces)
            for following in pieces:
                crc32 = zlib.crc32(piece, crc32)
                with storage_errors():
                    upload.send(piece)
                piece = following
            with storage_errors():
                try:
                    upload.finish(piece)
                except PreconditionFailed:
                    return False
                except DataCorruption:
                    self._blob(key).delete(**CALL)
                    raise
        except BaseException:
            with suppress(CloudExecutorError), storage_errors():
                upload.cancel()
            raise
        # The CRC-32 is optional: it is computed again where it is needed and missing.
        with suppress(CloudExecutorError):
            self.record_crc32(key, zlib.crc32(piece, crc32))
        return True

    def _copy(self, source: ObjectInfo, destination: str) -> bool:
        return self._rewrite(source.key, destination, source.crc32)

    def _rewrite(self, source: str, destination: str, crc32: int | None = None) -> bool:
        """Copy an object. Returns False if the destination exists. Raises ObjectNotFound."""
        blob = self._blob(destination)
        blob.content_type = CONTENT_TYPE
        # Never empty: an object without metadata would get the metadata of the source.
        blob.metadata = {"crc32": "" if crc32 is None else str(crc32)}
        token: str | None = None
        with storage_errors(ObjectNotFound):
            try:
                while True:
                    token, _, _ = blob.rewrite(self._blob(source), token, if_generation_match=0, **CALL)
                    if not token:
                        return True
            except PreconditionFailed:
                return False
            except Forbidden:
                if not self._has(destination):  # as in _put_small
                    raise
                return False

    def _join(self, key: str, parts: Sequence[str]) -> None:
        blob = self._blob(key)
        blob.content_type = CONTENT_TYPE

        def join() -> None:
            try:
                blob.compose([self._blob(part) for part in parts], if_generation_match=0, timeout=TIMEOUT, retry=None)
            except InternalServerError:
                # The emulator's response for a missing part, which a retry would not change.
                for part in parts:
                    self.stat(part)
                raise

        with storage_errors(ObjectNotFound), suppress(PreconditionFailed):
            RETRY(join)()

    def _reader(self, key: str, start: int) -> GcsReader:
        connection = self._connection.get()

        def get(headers: dict[str, str], generation: str | None) -> Response:
            url = connection.media_url(self._bucket_of(key), key, {"generation": generation})
            response: Response = connection.http.get(url, headers=headers, timeout=TIMEOUT, stream=True)
            return response

        return GcsReader(get, start)

    def _for_each(self, action: Callable[[Item], object], items: Collection[Item]) -> None:
        list(parallel_map(action, items, self.concurrency))

    def _blob(self, key: str) -> Blob:
        return self._connection.get().client.bucket(self._bucket_of(key)).blob(key)

    def _bucket_of(self, key: str) -> str:
        return self._staging_bucket if key.startswith(STAGED) else self._bucket

    def _is_staged(self, key: str) -> bool:
        """Whether the key is in the bucket in which objects are joined."""
        return self._bucket_of(key) == self._staging_bucket

    def _connect(self) -> _Connection:
        with storage_errors():
            return _Connection.open(self._project)


@dataclass(frozen=True, slots=True)
class _Connection:
    """A client with its credentials and HTTP session."""

    client: Client
    credentials: Credentials
    http: AuthorizedSession

    @classmethod
    def open(cls, project: str | None) -> _Connection:
        if os.environ.get("STORAGE_EMULATOR_HOST"):
            credentials: Credentials = AnonymousCredentials()
        else:
            credentials, _ = google.auth.default(scopes=SCOPES)
        http = AuthorizedSession(credentials)
        for scheme in ("http://", "https://"):
            http.mount(scheme, HTTPAdapter(pool_connections=CONNECTIONS, pool_maxsize=CONNECTIONS))
        return cls(Client(project, credentials, _http=http), credentials, http)

    def media_url(self, bucket: str, key: str, query: Mapping[str, str | None]) -> str:
        """The URL at which the service sends an object's bytes, with its metadata as headers."""
        given = urlencode({name: value for name, value in query.items() if value is not None})
        return f"{self.client.api_endpoint}/{bucket}/{quote(key, safe='/~')}{'?' if given else ''}{given}"

    def signer(self) -> dict[str, str]:
        """Arguments for signing a URL: none if the credentials can sign, else the account for which IAM signs."""
        credentials: Any = self.credentials
        if isinstance(credentials, Signing):
            return {}
        if not credentials.valid:
            credentials.refresh(Request())
        if not hasattr(credentials, "service_account_email"):
            raise Unavailable from TypeError("Only a service account can sign URLs.")
        return {"service_account_email": credentials.service_account_email, "access_token": credentials.token}


def _groups(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), COMPOSED_AT_ONCE):
        yield keys[start : start + COMPOSED_AT_ONCE]


def _blob_info(blob: Blob) -> ObjectInfo:
    metadata = blob.metadata or {}
    return replace(
        _info(blob.name, blob.size, blob.time_created, metadata),
        used=_used(blob.time_created, metadata.get("used")),
        version=f"{blob.generation}/{blob.metageneration}",
    )


def _used(created: datetime, noted: str | None) -> datetime:
    """The last use, which metadata of other programs does not tell."""
    with suppress(ValueError, TypeError):
        return max(created, datetime.fromisoformat(noted or ""))
    return created


def _info(key: str, size: int, modified: datetime, metadata: Mapping[str, str | None]) -> ObjectInfo:
    crc32 = metadata.get("crc32")
    return ObjectInfo(
        key,
        size,
        modified_time(modified),
        int(crc32) if crc32 is not None and crc32.isdecimal() else None,
        metadata.get("note"),
    )


def _response_headers(content_type: str, disposition: str | None) -> dict[str, str | None]:
    return {"response-content-type": content_type, "response-content-disposition": disposition}
