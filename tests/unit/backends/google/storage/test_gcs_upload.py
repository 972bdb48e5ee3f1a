"""Large uploads to Cloud Storage when the service or a connection fails."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from storage_server import StorageServer, storage_server

from cloud_executor.backends.google.storage.objects import PIECE_BYTES, GcsObjectStore
from cloud_executor.errors import QuotaExceeded, Unavailable

KEY = "wg-content/ab/cdef"
DATA = random.Random(1).randbytes(2 * PIECE_BYTES + 1000)


@pytest.fixture
def server() -> Iterator[StorageServer]:
    with storage_server() as server:
        yield server


@pytest.fixture
def store(server: StorageServer, open_store: Callable[[str], GcsObjectStore]) -> GcsObjectStore:
    return open_store(server.url)


def piece_requests(server: StorageServer) -> int:
    return sum(request.startswith("PUT") for request in server.requests)


@pytest.mark.parametrize("size", [PIECE_BYTES + 1, 2 * PIECE_BYTES, 2 * PIECE_BYTES + 1000])
def test_a_large_object_is_sent_in_pieces(server: StorageServer, store: GcsObjectStore, size: int) -> None:
    store.put(KEY, [DATA[:size]])
    assert bytes(server.received) == DATA[:size]
    assert server.finished
    assert piece_requests(server) == -(-size // PIECE_BYTES)


@pytest.mark.parametrize(
    "script",
    [[262144], [0], [PIECE_BYTES, 262144, 262144], ["lost"], ["503", "500", "429"], [PIECE_BYTES, PIECE_BYTES, "lost"]],
    ids=["in part", "nothing", "later pieces in part", "lost response", "transient errors", "lost last response"],
)
def test_an_upload_resumes_after_the_bytes_that_the_service_accepted(
    server: StorageServer, store: GcsObjectStore, script: list[int | str]
) -> None:
    server.script = script
    store.put(KEY, [DATA])
    assert bytes(server.received) == DATA
    assert server.finished


@pytest.mark.parametrize(
    ("script", "error"), [(["403"], Unavailable), (["503"] * 1000, Unavailable), (["429"] * 1000, QuotaExceeded)]
)
def test_an_upload_that_cannot_continue_is_canceled(
    server: StorageServer, store: GcsObjectStore, script: list[int | str], error: type[Exception]
) -> None:
    server.script = script
    with pytest.raises(error) as raised:
        store.put(KEY, [DATA])
    assert type(raised.value) is error
    assert server.requests[-1] == "DELETE /session"
    assert not server.finished


def test_an_upload_without_progress_fails(server: StorageServer, store: GcsObjectStore) -> None:
    server.script = [0] * 1000
    with pytest.raises(Unavailable):
        store.put(KEY, [DATA])
    assert piece_requests(server) < 100


def test_an_upload_succeeds_if_another_writer_stores_the_object_first(
    server: StorageServer, store: GcsObjectStore
) -> None:
    server.script = [PIECE_BYTES, PIECE_BYTES, "412"]
    store.put(KEY, [DATA])
    assert not any(request.startswith("PATCH") for request in server.requests)


@pytest.mark.parametrize("error", [ValueError, Unavailable, KeyboardInterrupt])
def test_an_upload_whose_chunks_fail_is_canceled(
    server: StorageServer, store: GcsObjectStore, error: type[BaseException]
) -> None:
    def chunks() -> Iterator[bytes]:
        yield DATA
        raise error

    with pytest.raises(error):
        store.put(KEY, chunks())
    assert server.requests[-1] == "DELETE /session"
    assert not server.finished


def test_an_object_whose_checksum_does_not_match_is_deleted(server: StorageServer, store: GcsObjectStore) -> None:
    server.received += b"x"  # as if the first byte had changed on its way
    with pytest.raises(Unavailable):
        store.put(KEY, [DATA])
    deletions = [request.partition("?")[0] for request in server.requests if request.startswith("DELETE")]
    assert deletions[0].endswith("/o/wg-content%2Fab%2Fcdef")
