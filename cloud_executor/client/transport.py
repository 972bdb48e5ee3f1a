"""HTTP requests to one server, with bounded retries. Every failure becomes an error that says what to do."""

from __future__ import annotations

import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

import httpx

from cloud_executor.client.account.google_identity import HEADER as GOOGLE_IDENTITY_HEADER
from cloud_executor.client.account.google_identity import GoogleIdentity
from cloud_executor.client.errors import (
    ERRORS_BY_STATUS,
    InvalidAddress,
    ServerError,
    ServerTimeout,
    ServerUnreachable,
    TransferFailed,
    UntrustedCertificate,
    WrongNonce,
)
from cloud_executor.client.progress import OnProgress
from cloud_executor.errors import CloudExecutorError, Forbidden, NotFound, Unavailable

TIMEOUT = httpx.Timeout(connect=10, read=120, write=120, pool=120)
"""Timeouts of a silent connection, in seconds. The response to a large upload comes once it is on the server's disk."""

RETRY_SECONDS = (0.1, 0.3, 0.8)
"""Delays before retries, in seconds."""

OUTAGE_SECONDS = 60.0
"""Longest outage, in seconds, of a server that has responded before: it is probably restarting."""

OUTAGE_RETRY_SECONDS = 1.0
"""Delay between the retries during an outage, in seconds."""

_OUTAGE_STATUSES = frozenset({502, 503, 504})
"""Statuses of a server, or of the proxy in front of it, that cannot respond now."""

RESUME_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 20.0)
"""Delays before resuming a transfer, in seconds. When all are used up without a new byte, the transfer fails."""

LONGEST_RETRY_AFTER_SECONDS = 5.0
"""Longest pause that a server can ask for, in seconds. After a longer `Retry-After`, a 429 is not retried."""

MAX_REDIRECTS = 5

_MAX_MESSAGE_LENGTH = 500

QueryParameters = Mapping[str, str | Sequence[str]]
"""Query parameters; one with several values is repeated."""

Content = Callable[[], Iterable[bytes]]
"""Function that returns the body of a request. Each attempt calls it again."""


class IncompleteResponse(Exception):
    """The connection ended before the response was complete."""


class Transport:
    """A connection pool to one server. It is thread-safe."""

    def __init__(
        self,
        url: str,
        nonce: str | None = None,
        token: str | None = None,
        http: httpx.BaseTransport | None = None,
        on_progress: OnProgress | None = None,
        *,
        google_identity: bool = False,
    ) -> None:
        """Raises InvalidAddress."""
        self.url = url.rstrip("/")
        self.on_progress = on_progress
        self._nonce = nonce
        self._token = token
        self._has_responded = False
        try:
            parsed = httpx.URL(self.url)
            if parsed.scheme not in ("http", "https") or not parsed.host:
                raise InvalidAddress
            self._client = _open_client(parsed, http)
            self._google_identity = GoogleIdentity(_origin(parsed)) if google_identity else None
        except (httpx.InvalidURL, ValueError) as error:
            raise InvalidAddress from error

    def close(self) -> None:
        self._client.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        query: QueryParameters | None = None,
        content: Content | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
        read_seconds: float | None = None,
        patient: bool = True,
    ) -> httpx.Response:
        """Return the whole response.

        A request that is not `repeatable` is retried only if the server cannot have acted on it. `read_seconds` is the
        read timeout, if it differs from the default. A request that is not `patient` fails soon if the server is
        unreachable, even if it has responded before.
        """
        timeout = TIMEOUT.as_dict() | ({} if read_seconds is None else {"read": read_seconds})

        def build() -> httpx.Request:
            body = content() if content is not None else None
            return self._client.build_request(
                method,
                path,
                params=query,
                content=body,
                headers=self._headers(path, headers, method),
                timeout=httpx.Timeout(**timeout),
            )

        def send() -> httpx.Response:
            response = self._follow(build())
            try:
                response.read()
            finally:
                response.close()
            return response

        return self._send(send, repeatable=repeatable, patient=patient)

    def post_json(self, path: str, document: object, *, repeatable: bool = True) -> httpx.Response:
        """POST a JSON document and return the response."""
        body = json.dumps(document).encode()  # ASCII, because the strings may contain lone surrogates
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        return self.request("POST", path, content=lambda: (body,), headers=headers, repeatable=repeatable)

    def put_to_storage(self, url: str, content: Content, headers: Mapping[str, str]) -> httpx.Response:
        """PUT to an object store, once and without the server's secrets, and return the response.

        Raises Unavailable for failures worth a retry, and NotFound if the URL does not exist or has expired.
        """
        try:
            request = self._client.build_request("PUT", url, content=content(), headers=headers)
            response = self._client.send(request, stream=True)
            try:
                if response.status_code >= 400:
                    raise _storage_error_of(response)
                response.read()
            finally:
                response.close()
        except httpx.TransportError as error:
            raise TransferFailed from error
        except httpx.InvalidURL as error:
            raise ServerError from error
        return response

    @contextmanager
    def stream(self, path: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """GET a response and stream its body. Raises IncompleteResponse if the body ends early."""
        response = self._send(
            lambda: self._follow(self._client.build_request("GET", path, headers=self._headers(path, headers)))
        )
        try:
            yield response
        except httpx.TransportError as error:
            raise IncompleteResponse from error
        finally:
            response.close()

    def _headers(self, path: str, headers: Mapping[str, str] | None, method: str = "GET") -> dict[str, str]:
        found = dict(headers or {})
        # The nonce is for requests about jobs. Deleting a blob needs it too.
        if self._nonce is not None and (path.startswith("/rest/executor") or method == "DELETE"):
            found["x-executor-nonce"] = self._nonce
        if self._token is not None:
            found["x-api-token"] = self._token
        if self._google_identity is not None:
            found[GOOGLE_IDENTITY_HEADER] = f"Bearer {self._google_identity.token}"
        return found

    def _send(
        self, send: Callable[[], httpx.Response], *, repeatable: bool = True, patient: bool = True
    ) -> httpx.Response:
        """Return a response with a status below 400."""
        pauses = self._pauses(patient)
        while True:
            pause = next(pauses, None)
            try:
                response = send()
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if (untrusted := _tls_error_of(error, self.url)) is not None:
                    raise untrusted from error
                if pause is None:
                    raise ServerUnreachable(self.url) from error
            except httpx.TimeoutException as error:
                raise ServerTimeout from error
            except httpx.TransportError as error:
                if pause is None or not repeatable:
                    raise TransferFailed from error
            except httpx.InvalidURL as error:
                raise InvalidAddress from error
            else:
                if response.status_code not in _OUTAGE_STATUSES:
                    self._has_responded = True
                if response.status_code < 400:
                    return response
                failure = self._front_end_error_of(response) or _error_of(response, self._nonce)
                # A server that responds with 503 or 429 has not acted on the request.
                retriable = response.status_code in (_OUTAGE_STATUSES if repeatable else {503})
                if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
                    retriable = 0 < _wanted_pause(response) <= LONGEST_RETRY_AFTER_SECONDS
                if not retriable or pause is None:
                    raise failure
                pause = max(pause, _retry_after(response))
            time.sleep(pause)

    def _front_end_error_of(self, response: httpx.Response) -> CloudExecutorError | None:
        """Return the error for a rejection by Google's front end; None for a response of the server itself."""
        is_page = response.headers.get("content-type", "").startswith("text/html")
        if response.status_code not in (401, 403) or not is_page or "Google" not in response.headers.get("server", ""):
            return None
        response.close()
        if self._google_identity is None:
            return Forbidden("The server requires a Google identity: give --google-identity.")
        return Forbidden("Google does not let this identity call the server: its operator can grant roles/run.invoker.")

    def _pauses(self, patient: bool) -> Iterator[float]:
        """Yield the delays before retries."""
        yield from RETRY_SECONDS
        end = time.monotonic() + OUTAGE_SECONDS
        while patient and self._has_responded and time.monotonic() < end:
            yield OUTAGE_RETRY_SECONDS

    def _follow(self, request: httpx.Request) -> httpx.Response:
        """Send the request and follow redirects. The secrets are not sent to other servers."""
        for _ in range(MAX_REDIRECTS):
            response = self._client.send(request, stream=True)
            if response.next_request is None:
                return response
            response.close()
            origin, request = request.url, response.next_request
            if (origin.scheme, origin.host, origin.port) != (request.url.scheme, request.url.host, request.url.port):
                for name in ("x-api-token", "x-executor-nonce", GOOGLE_IDENTITY_HEADER):
                    request.headers.pop(name, None)
        raise ServerError("Too many redirects: check the address of the server.")


class _LazyTls(httpx.BaseTransport):
    """Connections with TLS, opened when the server redirects to one: loading the certificates takes time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: httpx.HTTPTransport | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            if self._opened is None:
                self._opened = httpx.HTTPTransport()
        return self._opened.handle_request(request)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()


def _open_client(url: httpx.URL, http: httpx.BaseTransport | None) -> httpx.Client:
    """Open the connection pool to a server. `http` replaces the network."""
    is_local = _is_loopback(url.host)
    mounts: dict[str, httpx.BaseTransport] = {}
    if is_local and http is None and url.scheme == "http":
        http = httpx.HTTPTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))  # trusts nobody
        mounts = {"https://": _LazyTls()}
    return httpx.Client(
        base_url=url,
        timeout=TIMEOUT,
        transport=http,
        mounts=mounts,
        # A proxy that the environment names cannot reach this machine's loopback addresses.
        trust_env=not is_local,
        # SSL_CERT_FILE applies to loopback addresses too.
        verify=httpx.create_ssl_context() if url.scheme == "https" else True,
    )


def _origin(url: httpx.URL) -> str:
    """Scheme and host of the server, which are the audience of identity tokens. Raises InvalidAddress.

    The tokens are sent over TLS only, except on this machine.
    """
    if url.scheme != "https" and not _is_loopback(url.host):
        raise InvalidAddress("A Google identity is sent to addresses that begin with https:// only.")
    return f"{url.scheme}://{url.netloc.decode()}"


def path_segment(name: str) -> str:
    """Encode a string as one segment of a URL path."""
    encoded = quote(name.encode("utf-8", "surrogatepass"), safe="")
    return encoded if encoded.strip(".") else encoded.replace(".", "%2E")


def json_of(response: httpx.Response) -> Any:  # noqa: ANN401 - any JSON value
    """Decode the JSON body. Raises ServerError."""
    try:
        return response.json()
    except ValueError as error:
        raise ServerError from error


def _error_of(response: httpx.Response, nonce: str | None) -> CloudExecutorError:
    message = ""
    with suppress(httpx.TransportError):
        response.read()
        if response.headers.get("content-type", "").startswith("text/plain"):
            message = response.text.strip()
    response.close()
    if len(message) > _MAX_MESSAGE_LENGTH or "\n" in message:
        message = ""
    if response.status_code == 403 and "nonce" in message:
        return WrongNonce(
            None if nonce is not None else "The server requires a nonce: give it with --nonce or EXECUTOR_NONCE."
        )
    error_class = ERRORS_BY_STATUS.get(response.status_code, ServerError)
    return error_class(message or f"The server responded with {response.status_code} {response.reason_phrase}.")


def _tls_error_of(error: httpx.HTTPError, url: str) -> CloudExecutorError | None:
    """Return the error for a failed TLS handshake; None for other failures."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return UntrustedCertificate(url, cause)
    if cause is not None and cause.reason == "WRONG_VERSION_NUMBER":
        return ServerError(f"The server at {url} does not use TLS: give an address that begins with http://.")
    return None


def _storage_error_of(response: httpx.Response) -> CloudExecutorError:
    """Return the error for a response of an object store, without its body, which is for programs."""
    if response.status_code in (404, 410):
        return NotFound()
    if response.status_code in (408, 429) or response.status_code >= 500:
        return Unavailable()
    return ServerError(f"The server's storage responded with {response.status_code} {response.reason_phrase}.")


def _retry_after(response: httpx.Response) -> float:
    return min(_wanted_pause(response), LONGEST_RETRY_AFTER_SECONDS)


def _wanted_pause(response: httpx.Response) -> float:
    """The pause that the server asks for, in seconds; 0 if it asks for none."""
    try:
        return float(response.headers.get("retry-after", 0))
    except ValueError:
        return 0.0


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
