"""Objects in a bucket of Google Cloud Storage.

The CRC-32 of an object's bytes, and the note of an upload in flight, are its custom metadata. Every write asks for an
object that is not there yet, so a repeated one changes nothing.
"""

from __future__ import annotations

import os
import threading
import uuid
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from io import BufferedReader
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import google.auth
from google.api_core.exceptions import Conflict, InternalServerError, NotFound, PreconditionFailed
from google.auth.credentials import AnonymousCredentials, Credentials, Signing
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud.storage import Blob, Client
from google.cloud.storage.exceptions import DataCorruption
from requests import Response
from requests.adapters import HTTPAdapter

from cloud_executor.backends.google.storage.errors import CALL, RETRY, TIMEOUT, storage_errors
from cloud_executor.backends.google.storage.reader import READ_BYTES, GcsReader
from cloud_executor.backends.google.storage.upload import GcsUpload
from cloud_executor.errors import CloudExecutorError, Unavailable
from cloud_executor.ports import ObjectInfo, ObjectNotFound

Item = TypeVar("Item")

PIECE_BYTES = 4 * 2**20
"""of a request that sends; an object that is no larger needs only one"""

COMPOSED_AT_ONCE = 32
"""objects: the most that the service joins in one call"""

LISTED_AT_ONCE = 1000

CONNECTIONS = 64
"""that stay open for the next calls"""

# Signing URLs is a call of another service than storage.
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)

CONTENT_TYPE = "application/octet-stream"

_FIELDS = "items(name,size,timeCreated,metadata),nextPageToken"


class GcsObjectStore:
    """An ObjectStore in a bucket, and its DirectTransfers.

    `project` None: that of the environment's credentials. STORAGE_EMULATOR_HOST names an emulator to use instead.
    """

    concurrency = 16

    def __init__(self, bucket: str, project: str | None) -> None:
        self._bucket = bucket
        self._project = project
        self._lock = threading.Lock()
        self._connected: _Connection | None = None

    def create(self) -> None:
        """Make the bucket; one that is there stays as it is. For an emulator: Terraform makes the cloud's."""
        with storage_errors(), suppress(Conflict):
            self._connection.client.create_bucket(self._bucket, **CALL)

    def put(self, key: str, chunks: Iterable[bytes]) -> None:
        pieces = _pieces(chunks)
        first = next(pieces)
        second = next(pieces, None)
        if second is None:
            self._put_small(key, first)
        # Asked for, since an emulator knows no conditions of resumable uploads.
        elif not self._has(key):
            self._put_large(key, first, second, pieces)

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        self._each(lambda item: self.put(item[0], (item[1],)), objects.items())

    def open(self, key: str, start: int = 0) -> BufferedReader:
        return BufferedReader(self._reader(key, start), READ_BYTES)

    def read(self, key: str) -> tuple[bytes, ObjectInfo]:
        with self._reader(key, 0) as reader:
            content = reader.readall()
            headers = reader.headers
        metadata = {name: headers.get(f"X-Goog-Meta-{name}") for name in ("crc32", "note")}
        return content, _info(key, len(content), parsedate_to_datetime(headers["Last-Modified"]), metadata)

    def stat(self, key: str) -> ObjectInfo:
        blob = self._blob(key)
        with storage_errors(ObjectNotFound):
            blob.reload(**CALL)
        return _blob_info(blob)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with storage_errors():
            blobs = iter(
                self._connection.client.list_blobs(
                    self._bucket, prefix=prefix, page_size=LISTED_AT_ONCE, fields=_FIELDS, **CALL
                )
            )
        while True:
            with storage_errors():
                blob = next(blobs, None)
            if blob is None:
                return
            yield _blob_info(blob)

    def move(self, source: str, destination: str) -> None:
        try:
            found = self.stat(source)
            # Asked for, since an emulator knows no conditions of rewrites.
            if not self._has(destination):
                self._copy(source, destination, found.crc32)
        except ObjectNotFound:
            if not self._has(destination):
                raise
        self.delete(source)

    def delete(self, key: str) -> None:
        with storage_errors(), suppress(NotFound):
            self._blob(key).delete(**CALL)

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
        connection = self._connection
        if isinstance(connection.credentials, AnonymousCredentials):
            return connection.media_url(self._bucket, key, _response_headers(content_type, disposition))
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
        names = iter(range(2 * len(parts) + 2))
        temporary = f"wg-temp/{uuid.uuid4()}"
        made: list[str] = []

        def new_key() -> str:
            made.append(f"{temporary}-{next(names)}")
            return made[-1]

        try:
            glue = {new_key(): part for part in parts if isinstance(part, bytes)}
            glue_keys = iter(list(glue))
            keys = [part if isinstance(part, str) else next(glue_keys) for part in parts]
            self.put_all(glue)
            while len(keys) > COMPOSED_AT_ONCE:
                groups = {new_key(): group for group in _groups(keys)}
                self._each(lambda item: self._join(*item), groups.items())
                keys = list(groups)
            self._join(key, keys)
        finally:
            with suppress(CloudExecutorError):
                self._each(self.delete, made)

    # Steps --------------------------------------------------------------------------------------------------------

    def _put_small(self, key: str, content: bytes) -> None:
        blob = self._blob(key)
        blob.metadata = {"crc32": str(zlib.crc32(content))}
        with storage_errors(), suppress(PreconditionFailed):
            blob.upload_from_string(content, CONTENT_TYPE, if_generation_match=0, checksum="crc32c", **CALL)

    def _put_large(self, key: str, piece: bytes, following: bytes | None, pieces: Iterator[bytes]) -> None:
        with storage_errors():
            url = self._blob(key).create_resumable_upload_session(
                content_type=CONTENT_TYPE, if_generation_match=0, checksum=None, **CALL
            )
        upload = GcsUpload(self._connection.http, url)
        crc32 = 0
        try:
            while following is not None:
                crc32 = zlib.crc32(piece, crc32)
                with storage_errors():
                    upload.send(piece)
                piece, following = following, next(pieces, None)
            with storage_errors():
                try:
                    upload.finish(piece)
                except PreconditionFailed:
                    return
                except DataCorruption:
                    self._blob(key).delete(**CALL)
                    raise
        except BaseException:
            with suppress(CloudExecutorError), storage_errors():
                upload.cancel()
            raise
        # Whoever needs it and does not find it computes it.
        with suppress(CloudExecutorError):
            self.record_crc32(key, zlib.crc32(piece, crc32))

    def _copy(self, source: str, destination: str, crc32: int | None) -> None:
        """Inside the service, without the note. Raises ObjectNotFound."""
        blob = self._blob(destination)
        blob.content_type = CONTENT_TYPE
        # Without any metadata it would get those of the source.
        blob.metadata = {"crc32": "" if crc32 is None else str(crc32)}
        token: str | None = None
        with storage_errors(ObjectNotFound), suppress(PreconditionFailed):
            while True:
                token, _, _ = blob.rewrite(self._blob(source), token, if_generation_match=0, **CALL)
                if not token:
                    return

    def _join(self, key: str, parts: Sequence[str]) -> None:
        blob = self._blob(key)
        blob.content_type = CONTENT_TYPE

        def join() -> None:
            try:
                blob.compose([self._blob(part) for part in parts], if_generation_match=0, timeout=TIMEOUT, retry=None)
            except InternalServerError:
                # What an emulator says of a part that is missing, and would say again.
                for part in parts:
                    self.stat(part)
                raise

        with storage_errors(ObjectNotFound), suppress(PreconditionFailed):
            RETRY(join)()

    def _has(self, key: str) -> bool:
        try:
            self.stat(key)
        except ObjectNotFound:
            return False
        return True

    def _reader(self, key: str, start: int) -> GcsReader:
        connection = self._connection

        def get(headers: dict[str, str], generation: str | None) -> Response:
            url = connection.media_url(self._bucket, key, {"generation": generation})
            response: Response = connection.http.get(url, headers=headers, timeout=TIMEOUT, stream=True)
            return response

        return GcsReader(get, start)

    def _each(self, action: Callable[[Item], None], items: Collection[Item]) -> None:
        """Several at once. Raises what one of them raises."""
        if items:
            with ThreadPoolExecutor(min(self.concurrency, len(items))) as threads:
                for _ in threads.map(action, items):
                    pass

    def _blob(self, key: str) -> Blob:
        return self._connection.client.bucket(self._bucket).blob(key)

    @property
    def _connection(self) -> _Connection:
        with self._lock:
            if self._connected is None:
                with storage_errors():
                    self._connected = _Connection.open(self._project)
            return self._connected


@dataclass(frozen=True, slots=True)
class _Connection:
    """A client with what it goes out by."""

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
        """Where the service gives the bytes, together with what it knows of them."""
        given = urlencode({name: value for name, value in query.items() if value is not None})
        return f"{self.client.api_endpoint}/{bucket}/{quote(key, safe='/~')}{'?' if given else ''}{given}"

    def signer(self) -> dict[str, str]:
        """What signs a URL: nothing else if the credentials can, or the account that IAM signs for."""
        credentials: Any = self.credentials
        if isinstance(credentials, Signing):
            return {}
        if not credentials.valid:
            credentials.refresh(Request())
        if not hasattr(credentials, "service_account_email"):
            raise Unavailable from TypeError("URLs can only be signed by a service account.")
        return {"service_account_email": credentials.service_account_email, "access_token": credentials.token}


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes in pieces of PIECE_BYTES, the last of which may be smaller; of no bytes, an empty one."""
    piece = bytearray()
    for chunk in chunks:
        rest = memoryview(chunk)
        while rest:
            if len(piece) == PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
            taken = rest[: PIECE_BYTES - len(piece)]
            piece += taken
            rest = rest[len(taken) :]
    yield bytes(piece)


def _groups(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), COMPOSED_AT_ONCE):
        yield keys[start : start + COMPOSED_AT_ONCE]


def _blob_info(blob: Blob) -> ObjectInfo:
    return _info(blob.name, blob.size, blob.time_created, blob.metadata or {})


def _info(key: str, size: int, modified: datetime, metadata: Mapping[str, str | None]) -> ObjectInfo:
    crc32 = metadata.get("crc32")
    # In whole seconds, which is what a download tells too.
    return ObjectInfo(
        key,
        size,
        modified.astimezone(UTC).replace(microsecond=0),
        int(crc32) if crc32 is not None and crc32.isdecimal() else None,
        metadata.get("note"),
    )


def _response_headers(content_type: str, disposition: str | None) -> dict[str, str | None]:
    return {"response-content-type": content_type, "response-content-disposition": disposition}
