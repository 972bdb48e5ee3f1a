"""Objects in a bucket of an S3 service: Amazon's, MinIO, or another.

Each write succeeds only if the object does not exist (`If-None-Match: *`). On a service that does not support the
condition, a repeated write replaces the object with the same bytes, because keys are hashes of their contents.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from io import BufferedReader
from typing import TYPE_CHECKING, Literal, TypedDict

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.response import StreamingBody
from urllib3.exceptions import HTTPError

from cloud_executor.backends.bucket import CONNECTIONS, READ_BYTES, BucketStore, modified_time
from cloud_executor.backends.lazy import Lazy
from cloud_executor.errors import CloudExecutorError, QuotaExceeded, Unavailable
from cloud_executor.ports import USE_NOTED_AFTER, ObjectInfo, ObjectNotFound

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, PaginatorConfigTypeDef

PIECE_BYTES = 8 * 2**20
"""Size of the first pieces of an upload, in bytes. A smaller object is sent in one request."""

LARGER_EVERY = 1000
"""Number of pieces after which the size grows by PIECE_BYTES. The most, 10,000 pieces of up to 80 MiB, are 440 GiB."""

LISTED_AT_ONCE = 1000
"""Number of objects per request of a list, the most that the service returns."""

COPIED_BYTES = 512 * 2**20
"""Size of a part of a copy inside the service, in bytes. There can be 10,000 parts."""

LARGEST_COPY_BYTES = 5 * 2**30
"""Largest object that one call can copy, in bytes."""

ATTEMPTS = 5

_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
_EXISTS = frozenset({"412", "PreconditionFailed"})
_UNKNOWN_CONDITION = "NotImplemented"
_TOO_MANY = frozenset({"SlowDown", "429", "TooManyRequests", "Throttling", "RequestLimitExceeded"})


class _Condition(TypedDict, total=False):
    IfNoneMatch: Literal["*"]


class S3ObjectStore(BucketStore):
    """An ObjectStore in a bucket. If `endpoint` is None, at Amazon. boto3 finds the credentials and the region."""

    def __init__(self, bucket: str, endpoint: str | None, use_noted_after: timedelta = USE_NOTED_AFTER) -> None:
        super().__init__(use_noted_after)
        self._bucket = bucket
        self._endpoint = endpoint
        self._client = Lazy(self._connect)
        self._condition: _Condition = {"IfNoneMatch": "*"}

    def open(self, key: str, start: int = 0) -> BufferedReader:
        try:
            with _errors():
                found = self._client.get().get_object(Bucket=self._bucket, Key=key, Range=f"bytes={start}-")
        except _RangeEmpty:
            return BufferedReader(io.BytesIO())
        return BufferedReader(_Body(found["Body"]), READ_BYTES)

    def read(self, key: str) -> tuple[bytes, ObjectInfo]:
        with _errors():
            found = self._client.get().get_object(Bucket=self._bucket, Key=key)
            content = found["Body"].read()
        return content, _info(key, len(content), found["LastModified"])

    def stat(self, key: str) -> ObjectInfo:
        with _errors():
            found = self._client.get().head_object(Bucket=self._bucket, Key=key)
        return _info(key, found["ContentLength"], found["LastModified"], found["ETag"])

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        paginator = self._client.get().get_paginator("list_objects_v2")
        paging: PaginatorConfigTypeDef = {"PageSize": LISTED_AT_ONCE}
        pages = iter(paginator.paginate(Bucket=self._bucket, Prefix=prefix, PaginationConfig=paging))
        while True:
            with _errors(Unavailable):
                page = next(pages, None)
            if page is None:
                return
            for found in page.get("Contents", ()):
                yield _info(found["Key"], found["Size"], found["LastModified"], found["ETag"])

    def delete(self, key: str) -> None:
        with _errors(Unavailable):
            self._client.get().delete_object(Bucket=self._bucket, Key=key)

    def delete_unused(self, info: ObjectInfo) -> bool:
        """On a service that ignores the condition of the deletion, a use just before it can be missed."""
        try:
            # The use of an empty object is not noted.
            if info.size == 0 or self.stat(info.key).version != info.version:
                return False
            with _errors():
                self._client.get().delete_object(Bucket=self._bucket, Key=info.key, IfMatch=_etag(info))
        except ObjectNotFound:
            return True
        except (_ObjectExists, _ConditionUnknown):
            return False
        return True

    # Steps --------------------------------------------------------------------------------------------------------

    def _piece_bytes(self, number: int) -> int:
        return PIECE_BYTES * (1 + number // LARGER_EVERY)

    def _note_use(self, info: ObjectInfo) -> None:
        """Copy the object to itself, which renews its time, and changes its ETag, because the copy has other parts."""
        if info.size == 0:
            return
        etag = _etag(info)
        if "-" in etag and info.size <= LARGEST_COPY_BYTES:  # it has parts, and this copy has none
            with _errors():
                self._client.get().copy_object(
                    Bucket=self._bucket,
                    Key=info.key,
                    CopySource={"Bucket": self._bucket, "Key": info.key},
                    MetadataDirective="REPLACE",
                )
            return
        has_these_parts = etag.strip('"').endswith(f"-{-(-info.size // COPIED_BYTES)}")
        parts = self._copied_parts(info, info.key, COPIED_BYTES // 2 if has_these_parts else COPIED_BYTES)
        self._assemble(info.key, parts, replaces=True)

    def _put_small(self, key: str, content: bytes) -> bool:
        def put() -> None:
            with _errors(Unavailable):
                self._client.get().put_object(Bucket=self._bucket, Key=key, Body=content, **self._condition)

        return self._write(key, put)

    def _put_large(self, key: str, pieces: Iterator[bytes]) -> bool:
        def parts(upload: str) -> Iterator[CompletedPartTypeDef]:
            for number, piece in enumerate(pieces, 1):
                with _errors(Unavailable):
                    part = self._client.get().upload_part(
                        Bucket=self._bucket, Key=key, UploadId=upload, PartNumber=number, Body=piece
                    )
                yield {"PartNumber": number, "ETag": part["ETag"]}

        return self._assemble(key, parts)

    def _copy(self, source: ObjectInfo, destination: str) -> bool:
        if source.size == 0:
            return self._put_small(destination, b"")
        # In parts: assembling parts is the only way to copy on a condition that every service supports.
        return self._assemble(destination, self._copied_parts(source, destination, COPIED_BYTES))

    def _copied_parts(
        self, source: ObjectInfo, destination: str, part_bytes: int
    ) -> Callable[[str], Iterator[CompletedPartTypeDef]]:
        """A function for `_assemble` that copies the source in parts of this size."""

        def parts(upload: str) -> Iterator[CompletedPartTypeDef]:
            for number, start in enumerate(range(0, source.size, part_bytes), 1):
                with _errors():
                    part = self._client.get().upload_part_copy(
                        Bucket=self._bucket,
                        Key=destination,
                        UploadId=upload,
                        PartNumber=number,
                        CopySource={"Bucket": self._bucket, "Key": source.key},
                        CopySourceRange=f"bytes={start}-{min(start + part_bytes, source.size) - 1}",
                    )
                yield {"PartNumber": number, "ETag": part["CopyPartResult"]["ETag"]}

        return parts

    def _assemble(
        self, key: str, parts: Callable[[str], Iterator[CompletedPartTypeDef]], *, replaces: bool = False
    ) -> bool:
        """Store an object as a multipart upload. `parts` sends the parts, given the upload's id.

        Returns False if the object exists, unless it `replaces` the object.
        """
        with _errors(Unavailable):
            upload = self._client.get().create_multipart_upload(Bucket=self._bucket, Key=key)["UploadId"]
        try:
            sent = list(parts(upload))
            if replaces:
                self._complete(key, upload, sent, {})
                return True
            return self._write(key, lambda: self._complete(key, upload, sent, self._condition))
        except BaseException:
            self._abort(key, upload)
            raise

    def _complete(self, key: str, upload: str, parts: Sequence[CompletedPartTypeDef], condition: _Condition) -> None:
        try:
            with _errors(Unavailable):
                self._client.get().complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=key,
                    UploadId=upload,
                    MultipartUpload={"Parts": parts},
                    **condition,
                )
        except _ObjectExists:
            self._abort(key, upload)
            raise

    def _abort(self, key: str, upload: str) -> None:
        with suppress(CloudExecutorError), _errors():
            self._client.get().abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload)

    def _write(self, key: str, write: Callable[[], None]) -> bool:
        """Call `write`, which writes an object on the condition that it does not exist. Returns False if it does."""
        try:
            write()
        except _ObjectExists:
            return False
        except _ConditionUnknown:
            self._condition = {}
            if self._has(key):
                return False
            write()
        return True

    def _connect(self) -> S3Client:
        with _errors(Unavailable):
            return boto3.session.Session().client(
                "s3",
                endpoint_url=self._endpoint,
                config=Config(
                    connect_timeout=10,
                    read_timeout=60,
                    retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                    max_pool_connections=CONNECTIONS,
                ),
            )


class _ObjectExists(CloudExecutorError):
    """The object exists already."""


class _ConditionUnknown(CloudExecutorError):
    """The service does not support the condition that the object must not exist."""


class _RangeEmpty(CloudExecutorError):
    """The object ends before the requested range."""


class _Body(io.RawIOBase):
    """The body of a response, as a stream."""

    def __init__(self, body: StreamingBody) -> None:
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer)
        with _errors():
            data: bytes = self._body.read(len(target))
        target[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._body.close()
        super().close()


@contextmanager
def _errors(missing: type[CloudExecutorError] = ObjectNotFound) -> Iterator[None]:
    """Translate errors of the library into those of the port; `missing` if the service finds nothing."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        raise _error(code, missing) from error
    except (BotoCoreError, HTTPError) as error:
        raise Unavailable from error


def _error(code: str, missing: type[CloudExecutorError]) -> CloudExecutorError:
    if code in _MISSING:
        return missing()
    if code in _EXISTS:
        return _ObjectExists()
    if code in _TOO_MANY:
        return QuotaExceeded()
    if code == _UNKNOWN_CONDITION:
        return _ConditionUnknown()
    if code in ("416", "InvalidRange"):
        return _RangeEmpty()
    return Unavailable()


def _etag(info: ObjectInfo) -> str:
    return info.version.rpartition(" ")[0]


def _info(key: str, size: int, modified: datetime, etag: str = "") -> ObjectInfo:
    time = modified_time(modified)
    return ObjectInfo(key, size, time, used=time, version=f"{etag} {time.isoformat()}")
