"""Objects in a bucket of an S3 service: Amazon's, MinIO, or another.

Every write asks for an object that is not there yet (`If-None-Match: *`). Where a service does not know the condition,
a repeated write replaces an object by the same bytes, since keys are hashes of them.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import BufferedReader
from typing import TYPE_CHECKING, Literal, TypedDict

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.response import StreamingBody
from urllib3.exceptions import HTTPError

from cloud_executor.errors import CloudExecutorError, QuotaExceeded, Unavailable
from cloud_executor.ports import ObjectInfo, ObjectNotFound

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PIECE_BYTES = 8 * 2**20
"""of a request that sends; an object that is no larger needs only one"""

LARGER_EVERY = 1000
"""pieces: there may be 10,000, so they grow by PIECE_BYTES each time; the last ones are 80 MiB, and all 440 GiB"""

COPIED_BYTES = 512 * 2**20
"""in one call inside the service, of 10,000"""

READ_BYTES = 256 * 1024

CONNECTIONS = 64
ATTEMPTS = 5

_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
_THERE = frozenset({"412", "PreconditionFailed"})
_UNKNOWN_CONDITION = "NotImplemented"
_TOO_MANY = frozenset({"SlowDown", "429", "TooManyRequests", "Throttling", "RequestLimitExceeded"})


class _Condition(TypedDict, total=False):
    IfNoneMatch: Literal["*"]


class S3ObjectStore:
    """An ObjectStore in a bucket. `endpoint` None: Amazon's. Credentials and region are those that boto3 finds."""

    concurrency = 16

    def __init__(self, bucket: str, endpoint: str | None) -> None:
        self._bucket = bucket
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._connected: S3Client | None = None
        self._condition: _Condition = {"IfNoneMatch": "*"}

    def put(self, key: str, chunks: Iterable[bytes]) -> None:
        pieces = _pieces(chunks)
        first = next(pieces)
        second = next(pieces, None)
        if second is None:
            self._write(key, lambda: self._put_object(key, first))
        elif not self._has(key):
            self._put_large(key, first, second, pieces)

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        if objects:
            with ThreadPoolExecutor(min(self.concurrency, len(objects))) as threads:
                for _ in threads.map(lambda item: self.put(item[0], (item[1],)), objects.items()):
                    pass

    def open(self, key: str, start: int = 0) -> BufferedReader:
        try:
            with _errors():
                found = self._client.get_object(Bucket=self._bucket, Key=key, Range=f"bytes={start}-")
        except _RangeEmpty:
            return BufferedReader(io.BytesIO())
        return BufferedReader(_Body(found["Body"]), READ_BYTES)

    def read(self, key: str) -> tuple[bytes, ObjectInfo]:
        with _errors():
            found = self._client.get_object(Bucket=self._bucket, Key=key)
            content = found["Body"].read()
        return content, _info(key, len(content), found["LastModified"])

    def stat(self, key: str) -> ObjectInfo:
        with _errors():
            found = self._client.head_object(Bucket=self._bucket, Key=key)
        return _info(key, found["ContentLength"], found["LastModified"])

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        pages = iter(self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix))
        while True:
            with _errors(Unavailable):
                page = next(pages, None)
            if page is None:
                return
            for found in page.get("Contents", ()):
                yield _info(found["Key"], found["Size"], found["LastModified"])

    def move(self, source: str, destination: str) -> None:
        try:
            size = self.stat(source).size
            if not self._has(destination):
                self._copy(source, destination, size)
        except ObjectNotFound:
            if not self._has(destination):
                raise
        self.delete(source)

    def delete(self, key: str) -> None:
        with _errors(Unavailable):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    # Steps --------------------------------------------------------------------------------------------------------

    def _put_object(self, key: str, content: bytes) -> None:
        with _errors(Unavailable):
            self._client.put_object(Bucket=self._bucket, Key=key, Body=content, **self._condition)

    def _put_large(self, key: str, piece: bytes, following: bytes | None, pieces: Iterator[bytes]) -> None:
        def parts(upload: str) -> Iterator[CompletedPartTypeDef]:
            nonlocal piece, following
            number = 1
            while True:
                with _errors(Unavailable):
                    part = self._client.upload_part(
                        Bucket=self._bucket, Key=key, UploadId=upload, PartNumber=number, Body=piece
                    )
                yield {"PartNumber": number, "ETag": part["ETag"]}
                if following is None:
                    return
                piece, following = following, next(pieces, None)
                number += 1

        self._assemble(key, parts)

    def _copy(self, source: str, destination: str, size: int) -> None:
        """Inside the service; in parts, since only they can be put together on a condition everywhere."""

        def parts(upload: str) -> Iterator[CompletedPartTypeDef]:
            for number, start in enumerate(range(0, size, COPIED_BYTES), 1):
                with _errors():
                    part = self._client.upload_part_copy(
                        Bucket=self._bucket,
                        Key=destination,
                        UploadId=upload,
                        PartNumber=number,
                        CopySource={"Bucket": self._bucket, "Key": source},
                        CopySourceRange=f"bytes={start}-{min(start + COPIED_BYTES, size) - 1}",
                    )
                yield {"PartNumber": number, "ETag": part["CopyPartResult"]["ETag"]}

        if size:
            self._assemble(destination, parts)
        else:
            self.put(destination, ())

    def _assemble(self, key: str, parts: Callable[[str], Iterator[CompletedPartTypeDef]]) -> None:
        """Store what the parts of a multipart upload give; all of them or nothing."""
        with _errors(Unavailable):
            upload = self._client.create_multipart_upload(Bucket=self._bucket, Key=key)["UploadId"]
        try:
            sent = list(parts(upload))
            self._write(key, lambda: self._complete(key, upload, sent))
        except BaseException:
            self._abort(key, upload)
            raise

    def _complete(self, key: str, upload: str, parts: Sequence[CompletedPartTypeDef]) -> None:
        try:
            with _errors(Unavailable):
                self._client.complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=key,
                    UploadId=upload,
                    MultipartUpload={"Parts": parts},
                    **self._condition,
                )
        except _AlreadyThere:
            self._abort(key, upload)

    def _abort(self, key: str, upload: str) -> None:
        with suppress(CloudExecutorError), _errors():
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload)

    def _write(self, key: str, write: Callable[[], None]) -> None:
        """Do what writes an object on the condition that there is none."""
        try:
            write()
        except _AlreadyThere:
            pass
        except _ConditionUnknown:
            self._condition = {}
            if not self._has(key):
                write()

    def _has(self, key: str) -> bool:
        try:
            self.stat(key)
        except ObjectNotFound:
            return False
        return True

    @property
    def _client(self) -> S3Client:
        with self._lock:
            if self._connected is None:
                with _errors(Unavailable):
                    self._connected = boto3.session.Session().client(
                        "s3",
                        endpoint_url=self._endpoint,
                        config=Config(
                            connect_timeout=10,
                            read_timeout=60,
                            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                            max_pool_connections=CONNECTIONS,
                        ),
                    )
            return self._connected


class _AlreadyThere(CloudExecutorError):
    """There is an object already."""


class _ConditionUnknown(CloudExecutorError):
    """The service does not know the condition that there is no object yet."""


class _RangeEmpty(CloudExecutorError):
    """The object ends before what is asked for."""


class _Body(io.RawIOBase):
    """The bytes of an answer, as they come."""

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
    """Turn an error of the library into the port's; `missing` where the service finds nothing."""
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
    if code in _THERE:
        return _AlreadyThere()
    if code in _TOO_MANY:
        return QuotaExceeded()
    if code == _UNKNOWN_CONDITION:
        return _ConditionUnknown()
    if code in ("416", "InvalidRange"):
        return _RangeEmpty()
    return Unavailable()


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes in pieces, each of which but the last is as large as it may be; of no bytes, an empty one."""
    piece = bytearray()
    number = 0
    for chunk in chunks:
        rest = memoryview(chunk)
        while rest:
            size = PIECE_BYTES * (1 + number // LARGER_EVERY)
            if len(piece) == size:
                yield bytes(piece)
                piece.clear()
                number += 1
            taken = rest[: size - len(piece)]
            piece += taken
            rest = rest[len(taken) :]
    yield bytes(piece)


def _info(key: str, size: int, modified: datetime) -> ObjectInfo:
    # In whole seconds, which is what a download tells too.
    return ObjectInfo(key, size, modified.astimezone(UTC).replace(microsecond=0))
