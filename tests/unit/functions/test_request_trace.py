"""Tests for reading the trace of a request from its headers, and for logging with it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from werkzeug.wsgi import ClosingIterator, FileWrapper

from cloud_executor.json_logging import JsonFormatter
from functions.transport.request_trace import trace_of, traced

TRACE, OTHER = "0af7651916cd43dd8448eb211c80319c", "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "b7ad6b7169203331"
VALID = f"00-{TRACE}-{PARENT}-01"


def environ(traceparent: str | None = None, google: str | None = None) -> dict[str, Any]:
    headers = {"HTTP_TRACEPARENT": traceparent, "HTTP_X_CLOUD_TRACE_CONTEXT": google}
    return {name: value for name, value in headers.items() if value is not None}


@pytest.mark.parametrize(
    "header",
    [
        VALID,
        f"00-{TRACE}-{PARENT}-00",
        f"00-{TRACE}-{PARENT}-ff",
        f"01-{TRACE}-{PARENT}-01",
        f"cc-{TRACE}-{PARENT}-01-future-fields",
        f"fe-{TRACE}-{PARENT}-01-",
    ],
)
def test_traceparent_is_read(header: str) -> None:
    assert trace_of(environ(header)) == TRACE


@pytest.mark.parametrize(
    "header",
    [
        TRACE,
        f"{TRACE}/",
        f"{TRACE}/789",
        f"{TRACE}/18446744073709551615;o=1",
        f"{TRACE};o=0",
        f"{TRACE}/;o=",
    ],
)
def test_the_google_header_is_read(header: str) -> None:
    assert trace_of(environ(google=header)) == TRACE


MALFORMED = [
    "",
    " ",
    "-",
    "00",
    VALID[:-1],
    VALID + "0",
    VALID + "-",
    VALID + "-more",
    VALID + "\n",
    VALID + "\r\nSet-Cookie: x",
    " " + VALID,
    VALID + " ",
    VALID.upper(),
    VALID.replace("-", "_"),
    f"{VALID},{VALID}",
    f"ff-{TRACE}-{PARENT}-01",
    f"0-{TRACE}-{PARENT}-01",
    f"0x-{TRACE}-{PARENT}-01",
    f"-{TRACE}-{PARENT}-01",
    f"01-{TRACE}-{PARENT}-01.more",
    f"01-{TRACE}-{PARENT}-01-a\nb",
    f"00-{'0' * 32}-{PARENT}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE[:-1]}-{PARENT}-01",
    f"00-{TRACE}0-{PARENT}-01",
    f"00-{TRACE[:-1]}g-{PARENT}-01",
    f"00-{TRACE[:-1]}٣-{PARENT}-01",
    f"00-{TRACE[:-1]}\0-{PARENT}-01",
    f"00-{TRACE}-{PARENT}-1",
    f'00-{TRACE[:-2]}"}}-{PARENT}-01',
    "${jndi:ldap://example.org/x}",
    "00-" * 100_000,
    "0" * 1_000_000,
]

MALFORMED_GOOGLE = [
    "",
    TRACE.upper(),
    TRACE[:-1],
    TRACE + "0",
    "0" * 32,
    "0" * 32 + "/1;o=1",
    f"{TRACE}/{PARENT}",
    f"{TRACE}/-1",
    f"{TRACE}/1;o=x",
    f"{TRACE}/1;o=1;",
    f"{TRACE};p=1",
    f"{TRACE}/1/1",
    f"{TRACE}/1\n",
    f"{TRACE}/1, {TRACE}/1",
    f" {TRACE}/1",
    f"{TRACE[:-1]}\n/1",
    f"{TRACE}/٣",
    VALID,
    f"projects/p/traces/{TRACE}",
    f"{TRACE}/" + "1" * 1_000_000 + "x",
]


@pytest.mark.parametrize("header", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_traceparent_is_ignored(header: str) -> None:
    assert trace_of(environ(header)) is None
    assert trace_of(environ(header, f"{OTHER}/1")) == OTHER


@pytest.mark.parametrize("header", MALFORMED_GOOGLE, ids=range(len(MALFORMED_GOOGLE)))
def test_a_malformed_google_header_is_ignored(header: str) -> None:
    assert trace_of(environ(google=header)) is None
    assert trace_of(environ(VALID, header)) == TRACE


def test_traceparent_takes_precedence() -> None:
    assert trace_of(environ()) is None
    assert trace_of(environ(VALID, f"{OTHER}/1")) == TRACE


# Logging with the trace -----------------------------------------------------------------------------------------------


@pytest.fixture
def traces(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str | None]]:
    """Returns the traces of all records so far."""
    caplog.handler.setFormatter(JsonFormatter("test"))
    return lambda: [json.loads(line).get("trace") for line in caplog.text.splitlines()]


def log() -> None:
    logging.getLogger("test").warning("something")


def call(application: Any, environ: dict[str, Any]) -> Any:
    """Call the application as a server does. The caller reads and closes the body."""
    return application(environ, lambda *_: None)


def test_all_records_of_a_request_have_its_trace_and_later_records_do_not(
    traces: Callable[[], list[str | None]],
) -> None:
    def body() -> Iterator[bytes]:
        log()
        yield b"x"
        log()

    def application(*_: object) -> Iterable[bytes]:
        log()
        return ClosingIterator(body(), log)

    for header in (VALID, None, f"00-{OTHER}-{PARENT}-01"):
        response = call(traced(application), environ(header))
        assert list(response) == [b"x"]
        response.close()
        log()
    assert traces() == [TRACE] * 4 + [None] * 6 + [OTHER] * 4 + [None]


def test_a_trace_ends_with_its_request_even_if_the_response_is_not_read(traces: Callable[[], list[str | None]]) -> None:
    def application(*_: object) -> Iterable[bytes]:
        return (b"x", b"y")

    response = call(traced(application), environ(VALID))
    next(iter(response))
    response.close()
    log()
    assert traces() == [None]


def test_a_trace_ends_with_its_request_even_if_the_request_fails(traces: Callable[[], list[str | None]]) -> None:
    def application(*_: object) -> Iterable[bytes]:
        log()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        call(traced(application), environ(VALID))
    log()
    assert traces() == [TRACE, None]


def test_a_file_is_passed_to_the_server_unwrapped(traces: Callable[[], list[str | None]]) -> None:
    """The server then sends it without passing its bytes through Python."""
    file = FileWrapper(io.BytesIO(b"x"))
    assert call(traced(lambda *_: file), environ(VALID) | {"wsgi.file_wrapper": FileWrapper}) is file
    log()
    assert traces() == [None]
