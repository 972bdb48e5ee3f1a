"""Test the messages about TLS: certificates that are not trusted, and servers without TLS."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from cloud_executor.client import Client
from cloud_executor.client.errors import ServerError, UntrustedCertificate


def failing_with(error: Exception) -> Client:
    def respond(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(str(error)) from error

    return Client("https://server.example", transport=httpx.MockTransport(respond))


def verification_error(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = code, message
    return error


@pytest.mark.parametrize(
    ("code", "message", "what_to_do"),
    [
        (18, "self-signed certificate", "set SSL_CERT_FILE to a file with the certificate of its authority."),
        (20, "unable to get local issuer certificate", "set SSL_CERT_FILE to a file with the certificate of"),
        (10, "certificate has expired", "renew the certificate."),
        (9, "certificate is not yet valid", "check the clock of this machine."),
        (62, "Hostname mismatch, certificate is not valid for 'server.example'.", "use the host name that it was"),
    ],
)
def test_an_untrusted_certificate_is_reported_at_once(code: int, message: str, what_to_do: str) -> None:
    with pytest.raises(UntrustedCertificate) as caught:
        failing_with(verification_error(code, message)).job("h")
    start = f"The certificate of the server at https://server.example is not trusted ({message.rstrip('.')}): "
    assert str(caught.value).startswith(start + what_to_do)


REJECTION = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def plain_server(reply: bytes) -> Iterator[int]:
    """The port of a server that speaks HTTP without TLS, and replies once."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def test_a_server_without_tls_is_named() -> None:
    with (
        plain_server(REJECTION) as port,
        Client(f"https://127.0.0.1:{port}") as client,
        pytest.raises(ServerError, match="does not use TLS"),
    ):
        client.job("h")


def test_a_certificate_file_also_applies_to_loopback_addresses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    with pytest.raises(OSError):
        Client("https://127.0.0.1:1")


def test_certificates_are_loaded_only_for_a_redirect_to_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    with plain_server(REDIRECT) as port, Client(f"http://127.0.0.1:{port}") as client, pytest.raises(FileNotFoundError):
        client.job("h")
