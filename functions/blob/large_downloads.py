"""Downloads that are larger than a function may answer: the client is sent to the object store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from flask import Response

from cloud_executor.blobs.downloads import Download, ZipDownload
from cloud_executor.blobs.keys import content_key
from cloud_executor.blobs.store import BlobStore
from cloud_executor.blobs.zip_composer import ZipComposer
from cloud_executor.ports import DirectTransfers
from functions.blob.content_disposition import ascii_attachment
from functions.transport import responses

ADDRESS_LIFETIME = timedelta(hours=6)
"""within which a download must begin"""


@dataclass(frozen=True, slots=True)
class LargeDownloads:
    """Answers with addresses in the object store."""

    blobs: BlobStore
    direct: DirectTransfers
    inline_limit: int
    """bytes that are answered here"""

    def takes(self, size: int) -> bool:
        return size > self.inline_limit

    def response(self, download: Download, content_type: str, *, attached: bool) -> Response:
        """A redirect. A zip is made first. Raises what making it raises."""
        if isinstance(download, ZipDownload):
            key = ZipComposer(self.blobs, self.direct).compose(download)
        else:
            key = content_key(download.content_hash)
        address = self.direct.download_url(
            key,
            content_type=content_type,
            disposition=ascii_attachment(download.name) if attached else None,
            lifetime=ADDRESS_LIFETIME,
        )
        # No cache may keep it: the address ends.
        return responses.text("It is elsewhere.", 302, [("Location", address), ("Cache-Control", "no-store")])
