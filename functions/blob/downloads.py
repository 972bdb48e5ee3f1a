"""View and download: the headers, ranges and conditions of an answer with a blob's bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO

from flask import Request, Response
from werkzeug.http import is_resource_modified

from cloud_executor.blobs.downloads import Download, ZipDownload
from cloud_executor.blobs.store import READ_BYTES, BlobStore
from cloud_executor.model.mime import OCTET_STREAM, mime_type
from functions.blob.content_disposition import attachment
from functions.blob.large_downloads import LargeDownloads
from functions.transport import responses
from functions.transport.responses import Header

_ALWAYS_ATTACHED = frozenset({OCTET_STREAM, "application/zip"})

_FOR_EVER = ("Cache-Control", "public, max-age=31536000, immutable")
"""a blob's hash names its bytes: they never change"""

_UNTRUSTED = (("X-Content-Type-Options", "nosniff"), ("Content-Security-Policy", "sandbox"))
"""a stored page must not act in the name of this origin"""

_ONE_RANGE = re.compile("bytes=([0-9]{0,4000})-([0-9]{0,4000})", re.IGNORECASE)


def download_response(
    request: Request,
    blobs: BlobStore,
    download: Download,
    *,
    attached: bool,
    elsewhere: LargeDownloads | None,
) -> Response:
    """The bytes, or the range of them that was asked for, or only that they have not changed.

    Where there is an `elsewhere`, a body that is too large for here is a redirect to there.
    """
    content_type = mime_type(download.name)
    etag = f'"{download.identity}"'
    headers: list[Header] = [("ETag", etag), _FOR_EVER, *_UNTRUSTED]
    attached = attached or content_type in _ALWAYS_ATTACHED
    if attached:
        headers.append(("Content-Disposition", attachment(download.name)))
    environ = request.environ
    if "HTTP_IF_NONE_MATCH" in environ and not is_resource_modified(environ, etag=etag):
        return responses.stream((), content_type, 304, headers)
    size = download.size
    if request.method == "HEAD":
        elsewhere = None
    if isinstance(download, ZipDownload):
        if elsewhere is not None and elsewhere.takes(size):
            return elsewhere.response(download, content_type, attached=attached)
        headers.append(("Content-Length", str(size)))
        return responses.stream(() if request.method == "HEAD" else download.chunks(), content_type, 200, headers)
    headers.append(("Accept-Ranges", "bytes"))
    start, end, status = 0, size, 200
    if request.method == "GET" and "HTTP_RANGE" in environ and _range_is_current(request, etag):
        wanted = _wanted_range(environ["HTTP_RANGE"], size)
        if wanted is not None:
            start, end, status = *wanted, 206
            if start >= size:
                # Without the headers of the file: a cache must not keep this in its place.
                return responses.text("The range begins after the end.", 416, [("Content-Range", f"bytes */{size}")])
            headers.append(("Content-Range", f"bytes {start}-{end - 1}/{size}"))
    if elsewhere is not None and elsewhere.takes(end - start):
        return elsewhere.response(download, content_type, attached=attached)
    headers.append(("Content-Length", str(end - start)))
    if request.method == "HEAD" or start == end:
        return responses.stream((), content_type, status, headers)
    return _content_response(
        request, blobs.open_content(download.content_hash, start), end - start, (content_type, status, headers)
    )


def _range_is_current(request: Request, etag: str) -> bool:
    """Whether the range asked for is one of these bytes (RFC 9110, If-Range)."""
    condition = request.environ.get("HTTP_IF_RANGE")
    return condition is None or condition == etag


def _wanted_range(header: str, size: int) -> tuple[int, int] | None:
    """Start and end of the range; None: the header makes no sense, or asks for several, and does not count."""
    found = _ONE_RANGE.fullmatch(header)
    if found is None or found[0].endswith("=-"):
        return None
    if not found[1]:
        return max(0, size - int(found[2])), size
    start, end = int(found[1]), int(found[2]) + 1 if found[2] else size
    return (start, min(end, size)) if end > start or not found[2] else None


def _content_response(
    request: Request,
    content: AbstractContextManager[BinaryIO],
    length: int,
    shape: tuple[str, int, list[Header]],
) -> Response:
    opened = content.__enter__()
    wrapper = request.environ.get("wsgi.file_wrapper")
    if wrapper is not None and hasattr(opened, "fileno"):
        # The server passes a real file to the kernel's sendfile: no byte comes through Python.
        response = responses.stream(wrapper(opened, READ_BYTES), *shape)
        response.direct_passthrough = True
    else:
        response = responses.stream(_limited(opened, length), *shape)
    response.call_on_close(lambda: content.__exit__(None, None, None))
    return response


def _limited(content: BinaryIO, length: int) -> Iterator[bytes]:
    while length > 0 and (chunk := content.read(min(READ_BYTES, length))):
        length -= len(chunk)
        yield chunk
