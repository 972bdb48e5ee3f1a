"""The routes of the blob API."""

from __future__ import annotations

from functions.openapi.parts import (
    HASH,
    INTEGER,
    STRING,
    Part,
    documents,
    json_content,
    operation,
    query,
    ref,
    response,
    text_content,
)

_HASH = "5ef48ed91d8ef4d2b1c8a5a4a3d3b1b6e2f8a0c1"
_METADATA = {
    "name": "in.csv",
    "size": 12,
    "mime": "text/csv",
    "isPublic": False,
    "tags": [],
    "content": _HASH,
    "contentType": "object",
}
_BLOBS = json_content(documents(ref("BlobMetadata")), {_HASH: _METADATA})
_STORED = response("The blob's hash and metadata.", _BLOBS)
_BYTES: Part = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
_DOWNLOAD_ERRORS = (404, 413, 416)
_FILE = "Supports `If-None-Match` (304) and, except for the zip of an artifact, `Range` and `If-Range` (206, 416)."


def _download(operation_id: str, summary: str) -> Part:
    responses = {
        200: response("The bytes.", _BYTES),
        206: response("The range of the bytes.", _BYTES),
        302: response("The bytes are at the address in `Location`, in the bucket."),
        304: response("The client already has these bytes."),
    }
    return operation(operation_id, summary, responses, errors=_DOWNLOAD_ERRORS, description=_FILE)


BLOB_OPERATIONS: dict[str, Part] = {
    "POST /rest/blob/createFile/<name>": operation(
        "createFile",
        "Store a file.",
        {200: _STORED},
        errors=(413, 507),
        body={"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    ),
    "POST /rest/blob/createMetadata": operation(
        "createMetadata",
        "Store metadata, for example of an artifact.",
        {200: _STORED},
        parameters=[
            query("from", "Hash of a blob whose contents the metadata may name; can be repeated up to 100 times.")
        ],
        errors=(404, 413, 507),
        body=json_content(ref("BlobMetadata"), _METADATA),
    ),
    "GET /rest/blob/metadata/<hash>": operation(
        "getMetadata",
        "Get the metadata of a blob.",
        {200: response("The metadata.", json_content(ref("BlobMetadata"), _METADATA))},
        errors=(404,),
    ),
    "GET /rest/blob/metadata": operation(
        "listMetadata",
        "List the public blobs.",
        {200: response("The metadata of each blob, by hash.", _BLOBS)},
        parameters=[
            query(
                "all",
                "If it is not empty, list all blobs, unless the operator forbids it; with tokens or accounts, only "
                "administrators see the blobs of others.",
            )
        ],
    ),
    "GET /rest/blob/view/<hash>": _download("viewBlob", "View a file, or download an artifact as a zip."),
    "GET /rest/blob/view/<hash>/<path>": _download("viewFile", "View a file of an artifact."),
    "GET /rest/blob/download/<hash>": _download("downloadBlob", "Download a file, or an artifact as a zip."),
    "GET /rest/blob/download/<hash>/<path>": _download("downloadFile", "Download a file of an artifact."),
    "POST /rest/blob/missing": operation(
        "listMissing",
        "List which of the given contents are not stored, or were not sent by the caller.",
        {
            200: response(
                "The contents that are not stored.",
                json_content({"type": "object", "properties": {"missing": {"type": "array", "items": HASH}}}),
            )
        },
        errors=(413,),
        body=json_content(
            {
                "type": "object",
                "required": ["contents"],
                "properties": {"contents": {"type": "array", "items": HASH, "maxItems": 10_000}},
            },
            {"contents": [_HASH]},
        ),
    ),
    "POST /rest/blob/uploads": operation(
        "beginUpload",
        "Begin the upload of a large file to the bucket.",
        {
            200: response("The caller has sent these bytes before: the blob's hash and metadata.", _BLOBS),
            201: response(
                "The id of the upload, and the address to which the bytes are sent.",
                json_content(
                    {
                        "type": "object",
                        "required": ["id", "url"],
                        "properties": {"id": STRING, "url": {"type": "string", "format": "uri"}},
                    }
                ),
            ),
        },
        errors=(404, 413, 507),
        body=json_content(
            {
                "type": "object",
                "required": ["name", "size"],
                "properties": {
                    "name": {"type": "string", "minLength": 1},
                    "size": {**INTEGER, "minimum": 0},
                    "sha1": HASH,
                },
            },
            {"name": "large.bin", "size": 5_000_000_000, "sha1": _HASH},
        ),
    ),
    "POST /rest/blob/uploads/<id>/complete": operation(
        "completeUpload", "Verify the bytes of an upload, and store the blob.", {200: _STORED}, errors=(404, 413, 507)
    ),
    "DELETE /rest/blob/<hash>": operation(
        "deleteBlob",
        "Delete a blob, for administrators.",
        {200: response("Done.", text_content("OK"))},
        errors=(404,),
        description="403 unless the operator allows it. The contents stay: see docs/operations.md: Deleting old data.",
    ),
}
