"""Errors, timeouts, retries, and checksums of calls to Cloud Storage."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import google_crc32c
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY
from requests import RequestException, Response
from urllib3.exceptions import HTTPError

from cloud_executor.backends.google.errors import google_error
from cloud_executor.errors import CloudExecutorError, Unavailable

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 20.0
"""Longest wait for the next byte of a response, in seconds."""

RETRY_SECONDS = 20.0
"""Time after which a call is no longer retried, in seconds. The client is then told to try again later."""

TIMEOUT = (CONNECT_SECONDS, SILENCE_SECONDS)

# By default, the library retries only calls that it knows are idempotent. All of ours are: objects never change.
RETRY = DEFAULT_RETRY.with_timeout(RETRY_SECONDS)

CALL: dict[str, Any] = {"timeout": TIMEOUT, "retry": RETRY}


@contextmanager
def storage_errors(missing: type[CloudExecutorError] = Unavailable) -> Iterator[None]:
    """Translate errors raised inside the block; `missing` if the service finds nothing.

    The default, Unavailable, is for calls that do not name an object: if those find nothing, the bucket is missing,
    which a user cannot fix. Wrap only our own calls, so that a caller's errors pass unchanged.
    """
    try:
        yield
    except exceptions.NotFound as error:
        raise missing() from error
    except (exceptions.GoogleAPIError, GoogleAuthError) as error:
        raise google_error(error) from error
    except (RequestException, HTTPError, ConnectionError, DataCorruption, InvalidResponse) as error:
        raise Unavailable from error


def check(response: Response, *expected: int) -> Response:
    """Return the response if it has an expected status. Otherwise raise the client library's error for its status."""
    if response.status_code not in expected:
        with response:
            raise exceptions.from_http_response(response)
    return response


def checksum_text(checksum: google_crc32c.Checksum) -> str:
    """A CRC-32C in the format of the service."""
    return base64.b64encode(checksum.digest()).decode()
