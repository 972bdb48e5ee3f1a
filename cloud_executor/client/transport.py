"""HTTP to one server: bounded retries, and every failure as an error that says what to do."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

import httpx

from cloud_executor.client.errors import (
    KINDS,
    InvalidAddress,
    ServerFault,
    ServerSilent,
    ServerUnreachable,
    TransferBroken,
    WrongNonce,
)
from cloud_executor.errors import CloudExecutorError, NotFound, Unavailable

TIMEOUT = httpx.Timeout(connect=10, read=120, write=120, pool=120)
"""in seconds, of silence; a large upload is answered once it is on the disk"""

RETRY_SECONDS = (0.1, 0.3, 0.8)
"""pauses before another try"""

LONGEST_RETRY_AFTER_SECONDS = 5.0

MAX_REDIRECTS = 5

_LONGEST_SENTENCE = 500

Content = Callable[[], Iterable[bytes]]
"""gives the bytes of a request anew for each try"""


class ConnectionBroken(Exception):
    """The connection ended within an answer."""


class Transport:
    """Safe for use by threads."""

    def __init__(
        self, url: str, nonce: str | None = None, token: str | None = None, http: httpx.BaseTransport | None = None
    ) -> None:
        """Raises InvalidAddress."""
        self.url = url.rstrip("/")
        self._nonce = nonce
        self._token = token
        try:
            parsed = httpx.URL(self.url)
            if parsed.scheme not in ("http", "https") or not parsed.host:
                raise InvalidAddress
            # A proxy, if the environment names one, does not lead to this machine.
            self._client = httpx.Client(
                base_url=parsed, timeout=TIMEOUT, transport=http, trust_env=not _is_loopback(parsed.host)
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise InvalidAddress from error

    def close(self) -> None:
        self._client.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        content: Content | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
        read_seconds: float | None = None,
    ) -> httpx.Response:
        """The answer, whole. A call that is not `repeatable` is only tried again if the server did nothing yet.

        `read_seconds`: how long the answer may take, if that is longer than usual.
        """
        timeout = TIMEOUT.as_dict() | ({} if read_seconds is None else {"read": read_seconds})

        def build() -> httpx.Request:
            body = content() if content is not None else None
            return self._client.build_request(
                method,
                path,
                params=query,
                content=body,
                headers=self._headers(path, headers),
                timeout=httpx.Timeout(**timeout),
            )

        response = self._send(build, repeatable)
        try:
            response.read()
        except httpx.TransportError as error:
            raise TransferBroken from error
        finally:
            response.close()
        return response

    def post_json(self, path: str, document: object, *, repeatable: bool = True) -> httpx.Response:
        """The answer to a POST of a document."""
        body = json.dumps(document).encode()  # in ASCII: its texts may hold lone surrogates
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        return self.request("POST", path, content=lambda: (body,), headers=headers, repeatable=repeatable)

    def put_elsewhere(self, url: str, content: Content, headers: Mapping[str, str]) -> httpx.Response:
        """The answer of another server, tried once and without this one's secrets. Raises Unavailable if it may be
        tried again, NotFound for an address that is none, or no longer."""
        try:
            request = self._client.build_request("PUT", url, content=content(), headers=headers)
            response = self._client.send(request, stream=True)
            try:
                if response.status_code >= 400:
                    raise _error_elsewhere(response)
                response.read()
            finally:
                response.close()
        except httpx.TransportError as error:
            raise TransferBroken from error
        except httpx.InvalidURL as error:
            raise ServerFault from error
        return response

    @contextmanager
    def stream(self, path: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """The answer to a GET, to be read piece by piece. Raises ConnectionBroken where it ends too early."""
        response = self._send(
            lambda: self._client.build_request("GET", path, headers=self._headers(path, headers)), repeatable=True
        )
        try:
            yield response
        except httpx.TransportError as error:
            raise ConnectionBroken from error
        finally:
            response.close()

    def _headers(self, path: str, headers: Mapping[str, str] | None) -> dict[str, str]:
        found = dict(headers or {})
        if self._nonce is not None and path.startswith("/rest/executor"):
            found["x-executor-nonce"] = self._nonce
        if self._token is not None:
            found["x-api-token"] = self._token
        return found

    def _send(self, build: Callable[[], httpx.Request], repeatable: bool) -> httpx.Response:
        """An answer below 400, not read yet."""
        for pause in (*RETRY_SECONDS, None):
            try:
                response = self._follow(build())
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if pause is None:
                    raise ServerUnreachable(self.url) from error
            except httpx.TimeoutException as error:
                raise ServerSilent from error
            except httpx.TransportError as error:
                if pause is None or not repeatable:
                    raise TransferBroken from error
            except httpx.InvalidURL as error:
                raise InvalidAddress from error
            else:
                if response.status_code < 400:
                    return response
                failure = _error_of(response, self._nonce)
                if response.status_code != 503 or pause is None:
                    raise failure
                pause = max(pause, _retry_after(response))
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _follow(self, request: httpx.Request) -> httpx.Response:
        """Send, and go where the answer points; secrets stay with the server that they are for."""
        for _ in range(MAX_REDIRECTS):
            response = self._client.send(request, stream=True)
            if response.next_request is None:
                return response
            response.close()
            origin, request = request.url, response.next_request
            if (origin.scheme, origin.host, origin.port) != (request.url.scheme, request.url.host, request.url.port):
                for name in ("x-api-token", "x-executor-nonce"):
                    request.headers.pop(name, None)
        raise ServerFault("The server redirects for ever.")


def segment(text: str) -> str:
    """A text as one segment of an address."""
    encoded = quote(text.encode("utf-8", "surrogatepass"), safe="")
    return encoded if encoded.strip(".") else encoded.replace(".", "%2E")


def json_of(response: httpx.Response) -> Any:  # noqa: ANN401 - it can be any
    """Raises ServerFault."""
    try:
        return response.json()
    except ValueError as error:
        raise ServerFault from error


def _error_of(response: httpx.Response, nonce: str | None) -> CloudExecutorError:
    sentence = ""
    with suppress(httpx.TransportError):
        response.read()
        if response.headers.get("content-type", "").startswith("text/plain"):
            sentence = response.text.strip()
    response.close()
    if len(sentence) > _LONGEST_SENTENCE or "\n" in sentence:
        sentence = ""
    if response.status_code == 403 and "nonce" in sentence:
        return WrongNonce(
            None if nonce is not None else "The server wants a nonce: give it with --nonce or EXECUTOR_NONCE."
        )
    kind = KINDS.get(response.status_code, ServerFault)
    return kind(sentence or f"The server answered {response.status_code} {response.reason_phrase}.")


def _error_elsewhere(response: httpx.Response) -> CloudExecutorError:
    """Of an object store: its texts are for programs."""
    if response.status_code in (404, 410):
        return NotFound()
    if response.status_code in (408, 429) or response.status_code >= 500:
        return Unavailable()
    return ServerFault(f"The storage of the server answered {response.status_code} {response.reason_phrase}.")


def _retry_after(response: httpx.Response) -> float:
    try:
        return min(float(response.headers.get("retry-after", 0)), LONGEST_RETRY_AFTER_SECONDS)
    except ValueError:
        return 0.0


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
