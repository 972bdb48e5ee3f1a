"""An upload to Cloud Storage in pieces, of a content whose size is not known before its end."""

from __future__ import annotations

import re
from collections.abc import Mapping

import google_crc32c
from google.auth.transport.requests import AuthorizedSession
from google.cloud.storage.exceptions import DataCorruption
from requests import Response

from cloud_executor.backends.google.storage.errors import RETRY, TIMEOUT, check, checksum_text
from cloud_executor.errors import Unavailable

MOST_STEPS = 10
"""in which the service may take one piece"""

_TAKEN = re.compile(r"bytes=0-(\d+)")


class GcsUpload:
    """The sender of a resumable session. All pieces but the last are multiples of 256 KiB.

    Raises the errors of the client library, and Unavailable where the service does not go on.
    """

    # The client library's own writer cannot cancel its session, so a broken upload would be kept for a week.

    def __init__(self, http: AuthorizedSession, session_url: str) -> None:
        self._http = http
        self._url = session_url
        self._sent = 0
        self._checksum = google_crc32c.Checksum()

    def send(self, piece: bytes) -> None:
        self._checksum.update(piece)
        self._send(piece, "*")

    def finish(self, piece: bytes) -> None:
        """Send the last piece; the object is there now, or there was one already (PreconditionFailed)."""
        self._checksum.update(piece)
        response = self._send(piece, str(self._sent + len(piece)))
        stored: Mapping[str, str] = response.json()
        if stored["crc32c"] != checksum_text(self._checksum):
            raise DataCorruption(response)

    def cancel(self) -> None:
        self._http.delete(self._url, timeout=TIMEOUT)

    def _send(self, piece: bytes, total: str) -> Response:
        """The answer to its last byte. A piece that was taken in part is sent on from there."""
        end = self._sent + len(piece)
        for _ in range(MOST_STEPS):
            # Also after a connection broke off: what the service has taken of it already, it takes no second time.
            response: Response = RETRY(self._put)(piece, f"bytes {self._sent}-{end - 1}/{total}")
            if response.status_code != 308:
                return response
            taken = _TAKEN.fullmatch(response.headers.get("Range", ""))
            position = int(taken[1]) + 1 if taken else 0
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
