"""Uploads of files that are too large for a request to a function, below `/rest/blob` (docs/api.md: Large files)."""

from __future__ import annotations

import json
from functools import partial

from flask import Request, Response

from cloud_executor.access.grants import Grants
from cloud_executor.access.quotas import Quotas
from cloud_executor.blobs.direct_uploads import DirectUploads
from cloud_executor.blobs.store import BlobStore, StoredBlob
from cloud_executor.errors import NotFound
from cloud_executor.model.access.caller import Caller
from cloud_executor.model.blobs.metadata import hash_string
from cloud_executor.model.documents.javascript import parse_json
from cloud_executor.model.documents.json_fields import JsonFields, json_list, json_object, nonempty_string, whole_number
from functions.transport import request_body, responses


class NoDirectUploads(NotFound):
    """This server has no direct uploads; send files of any size to createFile."""


def begin_upload(
    request: Request, blobs: BlobStore, grants: Grants, quotas: Quotas, caller: Caller
) -> Response | StoredBlob:
    """The URL for the bytes (201), or the blob if they are stored already.

    Raises Invalid, LimitReached, NoDirectUploads.
    """
    uploads = _uploads(blobs)
    fields = _fields(request)
    size = fields.required("size", partial(whole_number, least=0))
    begun = uploads.begin(
        fields.required("name", nonempty_string),
        size,
        fields.optional("sha1", hash_string),
        request.headers.get("Origin"),
        caller.user,
        may_have=lambda sha1: sha1 in grants.granted(caller, (sha1,)),
    )
    if isinstance(begun, StoredBlob):
        return begun
    # Count the upload now: the caller may send the bytes without ever completing it.
    quotas.check_upload(caller.user, size)
    quotas.count_upload(caller.user, size)
    body = json.dumps({"id": begun.id, "url": begun.url}).encode()
    return responses.response(body, responses.BLOB_JSON, 201)


def complete_upload(blobs: BlobStore, upload_id: str, caller: Caller) -> StoredBlob:
    """Raises Invalid if the bytes differ from those announced, NotFound, NoDirectUploads."""
    return _uploads(blobs).complete(upload_id, caller.user)


def missing(request: Request, blobs: BlobStore, grants: Grants, caller: Caller) -> Response:
    """The given contents that are not stored, or that the caller has no grant of. Raises Invalid, TooLarge."""
    contents = _fields(request).required("contents", _hashes)
    absent = blobs.missing(contents, partial(grants.granted, caller))
    return responses.response(json.dumps({"missing": absent}).encode(), responses.BLOB_JSON)


def _uploads(blobs: BlobStore) -> DirectUploads:
    if blobs.direct is None:
        raise NoDirectUploads
    return DirectUploads(blobs, blobs.direct)


def _fields(request: Request) -> JsonFields:
    return JsonFields(json_object("The body", parse_json(request_body.document(request))))


def _hashes(path: str, value: object) -> list[str]:
    return [hash_string(f"Each element of {path}", element) for element in json_list(path, value)]
