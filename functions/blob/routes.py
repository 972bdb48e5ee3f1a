"""The blob API: maps paths below `/rest/blob` to the use cases of blobs (docs/protocol.md: Blobs)."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Request, Response

from cloud_executor.access.grants import Grants
from cloud_executor.access.quotas import Quotas
from cloud_executor.blobs.downloads import Downloads
from cloud_executor.blobs.store import BlobNotFound, BlobStore, StoredBlob
from cloud_executor.errors import Invalid
from cloud_executor.model.access.caller import Caller, Role
from cloud_executor.model.blobs.metadata import BlobMetadata
from cloud_executor.settings import DEFAULT_LARGEST_ZIP
from functions.access.access import Access, Area
from functions.access.audit import audit
from functions.blob import upload_routes
from functions.blob.downloads import download_response
from functions.blob.large_downloads import LargeDownloads
from functions.transport import request_body, responses
from functions.transport.route_list import no_such_route
from functions.transport.target import BadAddress, Target, decoded

MAX_SHARED = 100
"""Maximum number of blobs whose contents the metadata of another blob may name."""

_COLLECTIONS = frozenset({"createMetadata", "metadata", "missing", "uploads"})
"""Names below `/rest/blob` that are not those of blobs."""


@dataclass(frozen=True, slots=True)
class BlobRoutes:
    """Handles requests to the blob API."""

    blobs: BlobStore
    downloads: Downloads
    allow_list_all: bool
    access: Access
    grants: Grants
    quotas: Quotas
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
        caller = self._admitted(request)
        match request.method, rest:
            case "GET" | "HEAD", ("metadata", metadata_hash):
                return self._metadata(metadata_hash)
            case "GET" | "HEAD", ("metadata",):
                return self._list(bool(target.query.get("all")), caller)
            case "POST", ("createFile", name):
                return self._create_file(request, decoded(name), caller)
            case "POST", ("createMetadata",):
                return self._create_metadata(request, target, caller)
            case "POST", ("uploads",):
                begun = upload_routes.begin_upload(request, self.blobs, self.grants, self.quotas, caller)
                return self._granted(begun, caller) if isinstance(begun, StoredBlob) else begun
            case "POST", ("uploads", upload_id, "complete"):
                return self._granted(upload_routes.complete_upload(self.blobs, upload_id, caller), caller)
            case "DELETE", (metadata_hash,) if metadata_hash not in _COLLECTIONS:
                return self._delete(decoded(metadata_hash), caller)
            case "POST", ("missing",):
                return upload_routes.missing(request, self.blobs, self.grants, caller)
            case "GET" | "HEAD", (("view" | "download") as verb, metadata_hash, *_):
                path = "/".join(decoded(segment) for segment in target.segments[4:])
                download = self.downloads.resolve(decoded(metadata_hash), path or None)
                return download_response(
                    request,
                    self.blobs,
                    download,
                    attached=verb == "download",
                    private=self.access.has_users,
                    large_downloads=self._large_downloads(),
                )
        raise no_such_route(request.environ, target)

    def _admitted(self, request: Request) -> Caller:
        if request.method != "DELETE":
            return self.access.admit(request.environ, Area.BLOBS)
        # Without users, every caller that may run jobs is an administrator. Deleting needs the nonce; reading does not.
        return self.access.admit(request.environ, Area.JOBS, Role.ADMIN if self.access.has_users else Role.USER)

    def _delete(self, metadata_hash: str, caller: Caller) -> Response:
        self.access.check_deletion()
        self.blobs.delete(metadata_hash, self.grants.forget)
        audit(caller, "delete_blob", blob_hash=metadata_hash)
        return responses.text("OK")

    def _metadata(self, metadata_hash: str) -> Response:
        try:
            blob = self.blobs.metadata(decoded(metadata_hash), is_used=True)
        except BadAddress:
            raise BlobNotFound from None
        return responses.response(blob.document(), responses.BLOB_JSON)

    def _list(self, everything: bool, caller: Caller) -> Response:
        found = self.blobs.list_metadata(everything=everything and self.allow_list_all)
        if everything and self.access.has_users and not caller.may(Role.ADMIN):
            # A hash is the key to a blob, so users must not learn those of each other's files and results.
            found = self.grants.visible(caller, found)
        return responses.json_stream(b"{", map(_member, found), b"}", responses.BLOB_JSON)

    def _large_downloads(self) -> LargeDownloads | None:
        if self.blobs.direct is None or self.inline_limit is None:
            return None
        return LargeDownloads(self.blobs, self.blobs.direct, self.inline_limit, self.largest_zip)

    def _create_metadata(self, request: Request, target: Target, caller: Caller) -> Response:
        metadata = BlobMetadata.parse(request_body.document(request))
        shared = [value for name, value in target.parameters() if name == "from"] if target.query else []
        if len(shared) > MAX_SHARED:
            raise Invalid(f"from must not be given more than {MAX_SHARED} times.")
        blobs = (self.blobs.metadata(blob_hash, is_used=True).metadata for blob_hash in shared)
        self.grants.check(caller, metadata, blobs)
        self.quotas.check_upload(caller.user, len(metadata.canonical))
        blob = self.blobs.create_metadata(metadata)
        self.quotas.count_upload(caller.user, len(metadata.canonical))
        self.grants.add(caller.user, {blob.hash: len(blob.canonical)})
        self.downloads.prepare(blob)
        return _stored(blob, caller)

    def _create_file(self, request: Request, name: str, caller: Caller) -> Response:
        chunks = request_body.chunks(request)
        if not self.quotas.enabled:
            return self._granted(self.blobs.create_file(name, chunks), caller)
        blob = self.blobs.create_file(name, self.quotas.limited(caller.user, request.content_length, chunks))
        self.quotas.count_upload(caller.user, int(blob.metadata.size))
        return self._granted(blob, caller)

    def _granted(self, blob: StoredBlob, caller: Caller) -> Response:
        """The response to a caller that has sent the bytes of a file, or has a grant of them already."""
        # If the process dies before this, the client repeats the request.
        self.grants.add_file(caller.user, blob)
        return _stored(blob, caller)


def _member(blob: StoredBlob) -> bytes:
    return b'"%b":%b' % (blob.hash.encode(), blob.document())


def _stored(blob: StoredBlob, caller: Caller) -> Response:
    audit(caller, "store_blob", blob_hash=blob.hash)
    return responses.response(b"{%b}" % _member(blob), responses.BLOB_JSON)
