"""What Cloud Storage refuses, as the ports' own errors, how long a call may take, and the checksums."""

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
"""how long the service may say nothing"""

RETRY_SECONDS = 20.0
"""after which a call is not repeated any more: whoever waits for an answer is then told to come again"""

TIMEOUT = (CONNECT_SECONDS, SILENCE_SECONDS)

# The library repeats calls only where it knows that repeating is harmless. Of ours all are: an object is written once.
RETRY = DEFAULT_RETRY.with_timeout(RETRY_SECONDS)

CALL: dict[str, Any] = {"timeout": TIMEOUT, "retry": RETRY}


@contextmanager
def storage_errors(missing: type[CloudExecutorError] = Unavailable) -> Iterator[None]:
    """Turn the library's errors into a port's; `missing` where the service finds nothing.

    That is Unavailable where the call names no object: then it is the bucket that is missing, which is nothing that a
    user could mend. Wrap calls of ours only: a caller's own error is not ours.
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
    """The response, if it has one of these statuses. Raises the error of the client library for another."""
    if response.status_code not in expected:
        with response:
            raise exceptions.from_http_response(response)
    return response


def checksum_text(checksum: google_crc32c.Checksum) -> str:
    """As the service writes a CRC-32C."""
    return base64.b64encode(checksum.digest()).decode()
