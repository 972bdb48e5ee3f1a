"""Uploads past the limits of a function, below `/rest/blob` (docs/api.md: Large files)."""

from __future__ import annotations

import json

from flask import Request, Response

from cloud_executor.blobs.direct_uploads import DirectUploads
from cloud_executor.blobs.store import BlobStore, StoredBlob
from cloud_executor.errors import Invalid, NotFound
from cloud_executor.model.javascript import parse_json
from cloud_executor.model.metadata import is_hash
from functions.transport import request_body, responses


class NoDirectUploads(NotFound):
    """This server takes files of any size at createFile, and has no other uploads."""


def begin_upload(request: Request, blobs: BlobStore) -> Response | StoredBlob:
    """Where to send the bytes (201), or the blob if they are there. Raises Invalid, NoDirectUploads."""
    uploads = _uploads(blobs)
    fields = _fields(request)
    name, size, sha1 = fields.get("name"), fields.get("size"), fields.get("sha1")
    if not isinstance(name, str) or not name:
        raise Invalid("name must be a text that is not empty.")
    if isinstance(size, bool) or not isinstance(size, int | float) or size < 0 or size != size // 1:
        raise Invalid("size must be a number of bytes.")
    if sha1 is not None and not is_hash(sha1):
        raise Invalid("sha1 must be a hash: 40 hexadecimal digits in lower case.")
    begun = uploads.begin(name, int(size), sha1, request.headers.get("Origin"))
    if isinstance(begun, StoredBlob):
        return begun
    body = json.dumps({"id": begun.id, "url": begun.url}).encode()
    return responses.answer(body, responses.BLOB_JSON, 201)


def complete_upload(blobs: BlobStore, upload_id: str) -> StoredBlob:
    """Raises Invalid for other bytes than those announced, NotFound, NoDirectUploads."""
    return _uploads(blobs).complete(upload_id)


def missing(request: Request, blobs: BlobStore) -> Response:
    """Which of the contents are not stored. Raises Invalid, TooLarge."""
    contents = _fields(request).get("contents")
    if not isinstance(contents, list) or not all(map(is_hash, contents)):
        raise Invalid("contents must be a list of hashes: 40 hexadecimal digits in lower case.")
    return responses.answer(json.dumps({"missing": blobs.missing(contents)}).encode(), responses.BLOB_JSON)


def _uploads(blobs: BlobStore) -> DirectUploads:
    if blobs.direct is None:
        raise NoDirectUploads
    return DirectUploads(blobs, blobs.direct)


def _fields(request: Request) -> dict[str, object]:
    document = parse_json(request_body.document(request))
    if not isinstance(document, dict):
        raise Invalid("The body must be a JSON object.")
    return document
