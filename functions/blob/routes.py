"""The blob API: maps paths below `/rest/blob` to the use cases of blobs (docs/protocol.md: Blobs)."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Request, Response

from cloud_executor.blobs.downloads import Downloads
from cloud_executor.blobs.store import BlobNotFound, BlobStore, StoredBlob
from cloud_executor.model.metadata import BlobMetadata
from cloud_executor.settings import DEFAULT_LARGEST_ZIP
from functions.blob import upload_routes
from functions.blob.downloads import download_response
from functions.blob.large_downloads import LargeDownloads
from functions.transport import request_body, responses
from functions.transport.route_list import no_such_route
from functions.transport.target import BadAddress, Target, decoded


@dataclass(frozen=True, slots=True)
class BlobRoutes:
    """Handles requests to the blob API."""

    blobs: BlobStore
    downloads: Downloads
    allow_list_all: bool
    inline_limit: int | None = None
    """Largest download that this program sends itself, in bytes; larger ones are redirected to the object store.

    With None, or a store that clients cannot reach, this program sends every download.
    """
    largest_zip: int = DEFAULT_LARGEST_ZIP
    """Largest zip that is composed in the object store, in bytes."""

    def respond(self, request: Request, target: Target) -> Response | None:
        """None if the path is not below `/rest/blob`. Raises the errors of the use cases."""
        rest = target.below("rest", "blob")
        if rest is None:
            return None
        match request.method, rest:
            case "GET" | "HEAD", ("metadata", metadata_hash):
                return self._metadata(metadata_hash)
            case "GET" | "HEAD", ("metadata",):
                return self._list(bool(target.query.get("all")))
            case "POST", ("createFile", name):
                return self._create_file(request, decoded(name))
            case "POST", ("createMetadata",):
                return self._create_metadata(request)
            case "POST", ("uploads",):
                begun = upload_routes.begin_upload(request, self.blobs)
                return _stored(begun) if isinstance(begun, StoredBlob) else begun
            case "POST", ("uploads", upload_id, "complete"):
                return _stored(upload_routes.complete_upload(self.blobs, upload_id))
            case "POST", ("missing",):
                return upload_routes.missing(request, self.blobs)
            case "GET" | "HEAD", (("view" | "download") as verb, metadata_hash, *_):
                path = "/".join(decoded(segment) for segment in target.segments[4:])
                download = self.downloads.resolve(decoded(metadata_hash), path or None)
                return download_response(
                    request,
                    self.blobs,
                    download,
                    attached=verb == "download",
                    large_downloads=self._large_downloads(),
                )
        raise no_such_route(request.environ, target)

    def _metadata(self, metadata_hash: str) -> Response:
        try:
            blob = self.blobs.metadata(decoded(metadata_hash))
        except BadAddress:
            raise BlobNotFound from None
        return responses.response(blob.document(), responses.BLOB_JSON)

    def _list(self, everything: bool) -> Response:
        found = self.blobs.list_metadata(everything=everything and self.allow_list_all)
        return responses.json_stream(b"{", map(_member, found), b"}", responses.BLOB_JSON)

    def _large_downloads(self) -> LargeDownloads | None:
        if self.blobs.direct is None or self.inline_limit is None:
            return None
        return LargeDownloads(self.blobs, self.blobs.direct, self.inline_limit, self.largest_zip)

    def _create_metadata(self, request: Request) -> Response:
        blob = self.blobs.create_metadata(BlobMetadata.parse(request_body.document(request)))
        self.downloads.prepare(blob)
        return _stored(blob)

    def _create_file(self, request: Request, name: str) -> Response:
        return _stored(self.blobs.create_file(name, request_body.chunks(request)))


def _member(blob: StoredBlob) -> bytes:
    return b'"%b":%b' % (blob.hash.encode(), blob.document())


def _stored(blob: StoredBlob) -> Response:
    return responses.response(b"{%b}" % _member(blob), responses.BLOB_JSON)
