"""Uploads to Cloud Storage in pieces, for contents whose size is not known in advance."""

from __future__ import annotations

import re
from collections.abc import Mapping

import google_crc32c
from google.auth.transport.requests import AuthorizedSession
from google.cloud.storage.exceptions import DataCorruption
from requests import Response

from cloud_executor.backends.google.storage.errors import RETRY, TIMEOUT, check, checksum_text
from cloud_executor.errors import Unavailable

MAX_STEPS = 10
"""Number of requests for one piece, each of which the service accepts in part, after which the upload fails."""

_ACCEPTED = re.compile(r"bytes=0-(\d+)")


class GcsUpload:
    """A resumable upload session. The size of each piece but the last must be a multiple of 256 KiB.

    Raises the errors of the client library, and Unavailable if the upload makes no progress.
    """

    # The client library's BlobWriter (as of 3.17) lacks what we need. Its `terminate` sends DELETE to the URL that
    # creates sessions, so the service keeps the session for a week. It fails if the service accepts a piece in part,
    # does not delete an object whose checksum does not match, and needs an extra request if the last piece is full.

    def __init__(self, http: AuthorizedSession, session_url: str) -> None:
        self._http = http
        self._url = session_url
        self._sent = 0
        self._checksum = google_crc32c.Checksum()

    def send(self, piece: bytes) -> None:
        self._checksum.update(piece)
        self._send(piece, "*")

    def finish(self, piece: bytes) -> None:
        """Send the last piece, which stores the object. Raises PreconditionFailed if the object exists."""
        self._checksum.update(piece)
        response = self._send(piece, str(self._sent + len(piece)))
        stored: Mapping[str, str] = response.json()
        if stored["crc32c"] != checksum_text(self._checksum):
            raise DataCorruption(response)

    def cancel(self) -> None:
        self._http.delete(self._url, timeout=TIMEOUT)

    def _send(self, piece: bytes, total: str) -> Response:
        """Send a piece until the service has accepted all of it. Returns the last response."""
        end = self._sent + len(piece)
        for _ in range(MAX_STEPS):
            # Safe to retry after a broken connection: the service ignores bytes that it has accepted already.
            response: Response = RETRY(self._put)(piece, f"bytes {self._sent}-{end - 1}/{total}")
            if response.status_code != 308:
                return response
            accepted = _ACCEPTED.fullmatch(response.headers.get("Range", ""))
            position = int(accepted[1]) + 1 if accepted else 0
            if position < self._sent:
                break
            piece = piece[position - self._sent :]
            self._sent = position
            if not piece:
                return response
        raise Unavailable

    def _put(self, piece: bytes, content_range: str) -> Response:
        headers = {"Content-Range": content_range}
        response: Response = self._http.put(
            self._url, data=piece, headers=headers, timeout=TIMEOUT, allow_redirects=False
        )
        return check(response, 200, 201, 308)
