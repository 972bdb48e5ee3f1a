"""Downloads that exceed the response limit of a function: the client is redirected to the object store."""

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

URL_LIFETIME = timedelta(hours=6)
"""Time within which the client must start the download."""


@dataclass(frozen=True, slots=True)
class LargeDownloads:
    """Redirects to URLs in the object store."""

    blobs: BlobStore
    direct: DirectTransfers
    inline_limit: int
    """Largest body that this program sends itself, in bytes."""
    largest_zip: int
    """Size of the largest zip that is composed, in bytes."""

    def applies_to(self, size: int) -> bool:
        return size > self.inline_limit

    def redirect(self, download: Download, content_type: str, *, attached: bool) -> Response:
        """A redirect to the download; a zip is composed first. Raises ContentMissing, TooLarge."""
        if isinstance(download, ZipDownload):
            key = ZipComposer(self.blobs, self.direct, self.largest_zip).compose(download)
        else:
            key = content_key(download.content_hash)
        url = self.direct.download_url(
            key,
            content_type=content_type,
            disposition=ascii_attachment(download.name) if attached else None,
            lifetime=URL_LIFETIME,
        )
        # No cache may keep the redirect, because the URL expires.
        headers = [("Location", url), ("Cache-Control", "no-store")]
        return responses.text("Redirecting to the object store.", 302, headers)
