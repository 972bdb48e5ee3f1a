"""View and download: the headers, ranges, and conditions of a response with a blob's bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO

from flask import Request, Response
from werkzeug.http import is_resource_modified

from cloud_executor.blobs.downloads import ContentDownload, Download
from cloud_executor.blobs.store import READ_BYTES, BlobStore
from cloud_executor.errors import Forbidden
from cloud_executor.model.blobs.mime import OCTET_STREAM, mime_type
from functions.blob.content_disposition import attachment
from functions.blob.large_downloads import LargeDownloads
from functions.transport import responses
from functions.transport.responses import Header

_ALWAYS_ATTACHED = frozenset({OCTET_STREAM, "application/zip"})

_CACHE_FOREVER = "max-age=31536000, immutable"
"""Caching directives: a blob's bytes never change, because its hash identifies them."""

_UNTRUSTED = (("X-Content-Type-Options", "nosniff"), ("Content-Security-Policy", "sandbox"))
"""Headers that keep a stored page from acting in the name of this origin."""

_ACTIVE_TYPES = frozenset({"text/html", "application/xhtml+xml", "image/svg+xml", "text/xml", "application/xml"})
"""Types of documents that can act in a browser. The object store sends them without our headers, so as attachments."""

_SCRIPT_DESTINATIONS = frozenset(
    {"audioworklet", "embed", "object", "paintworklet", "script", "serviceworker", "sharedworker", "worker", "xslt"}
)
"""Values of Sec-Fetch-Dest by which a browser says that it will run the file in the name of the page that names it."""

_SINGLE_RANGE = re.compile("bytes=([0-9]{0,4000})-([0-9]{0,4000})", re.IGNORECASE)


class RunByPage(Forbidden):
    """A web page may not run a stored file as its script; serve the script from the page's own files."""


def download_response(
    request: Request,
    blobs: BlobStore,
    download: Download,
    *,
    attached: bool,
    private: bool,
    large_downloads: LargeDownloads | None,
) -> Response:
    """All bytes (200), the requested range (206), or only a confirmation that they are unchanged (304).

    With `private`, only the caller's own cache may keep the response, not one that callers share.
    With `large_downloads`, a body above its limit becomes a redirect to the object store. Raises RunByPage.
    """
    if request.headers.get("Sec-Fetch-Dest") in _SCRIPT_DESTINATIONS:
        raise RunByPage
    content_type = mime_type(download.name)
    attached = attached or content_type in _ALWAYS_ATTACHED
    etag = f'"{download.identity}"'
    headers = _headers(download, etag, attached=attached, private=private)
    if _is_unchanged(request, etag):
        return responses.response((), content_type, 304, headers)
    start, end, status = 0, download.size, 200
    if isinstance(download, ContentDownload):
        headers.append(("Accept-Ranges", "bytes"))
        requested = _requested_range(request, etag, download.size)
        if requested is not None:
            start, end, status = *requested, 206
            if start >= download.size:
                return _range_not_satisfiable(download.size)
            headers.append(("Content-Range", f"bytes {start}-{end - 1}/{download.size}"))
    length = end - start
    has_body = request.method != "HEAD" and length > 0
    if has_body and large_downloads is not None and large_downloads.applies_to(length):
        return large_downloads.redirect(download, content_type, attached=attached or content_type in _ACTIVE_TYPES)
    headers.append(("Content-Length", str(length)))
    response = responses.response((), content_type, status, headers)
    if not has_body:
        return response
    if isinstance(download, ContentDownload):
        _set_content(response, request, blobs.open_content(download.content_hash, start), length)
    else:
        response.response = download.chunks()
    return response


def _headers(download: Download, etag: str, *, attached: bool, private: bool) -> list[Header]:
    caching = f"{'private' if private else 'public'}, {_CACHE_FOREVER}"
    headers: list[Header] = [("ETag", etag), ("Cache-Control", caching), *_UNTRUSTED]
    if attached:
        headers.append(("Content-Disposition", attachment(download.name)))
    return headers


def _is_unchanged(request: Request, etag: str) -> bool:
    return "HTTP_IF_NONE_MATCH" in request.environ and not is_resource_modified(request.environ, etag=etag)


def _requested_range(request: Request, etag: str, size: int) -> tuple[int, int] | None:
    """Start and end of the requested range; None for the whole file."""
    header = request.environ.get("HTTP_RANGE")
    if header is None or request.method != "GET" or request.environ.get("HTTP_IF_RANGE", etag) != etag:
        return None
    return _parse_range(header, size)


def _parse_range(header: str, size: int) -> tuple[int, int] | None:
    """Start and end of the range; None for an invalid header or several ranges, which are ignored."""
    found = _SINGLE_RANGE.fullmatch(header)
    if found is None or found[0].endswith("=-"):
        return None
    if not found[1]:
        return max(0, size - int(found[2])), size
    start, end = int(found[1]), int(found[2]) + 1 if found[2] else size
    return (start, min(end, size)) if end > start or not found[2] else None


def _range_not_satisfiable(size: int) -> Response:
    # Without the file's headers, so that no cache keeps this response as the file.
    return responses.text("The range starts beyond the end of the file.", 416, [("Content-Range", f"bytes */{size}")])


def _set_content(response: Response, request: Request, content: AbstractContextManager[BinaryIO], length: int) -> None:
    opened = content.__enter__()
    response.call_on_close(lambda: content.__exit__(None, None, None))
    wrapper = request.environ.get("wsgi.file_wrapper")
    if wrapper is not None and hasattr(opened, "fileno"):
        # The server passes a real file to the kernel's sendfile, so its bytes never pass through Python.
        response.response = wrapper(opened, READ_BYTES)
        response.direct_passthrough = True
    else:
        response.response = _limited(opened, length)


def _limited(content: BinaryIO, length: int) -> Iterator[bytes]:
    while length > 0 and (chunk := content.read(min(READ_BYTES, length))):
        length -= len(chunk)
        yield chunk
