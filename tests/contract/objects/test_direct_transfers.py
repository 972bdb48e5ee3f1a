"""The contract of every store with DirectTransfers (cloud_executor/ports.py)."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
import requests
from contract_backends import Gcs, GcsWithStaging

from cloud_executor.backends.google.storage.objects import GcsObjectStore
from cloud_executor.ports import DirectTransfers, ObjectNotFound, ObjectStore

KEY = "wg-content/ab/cdef"
UPLOAD = "wg-temp/upload"
PIECE = 256 * 1024
HOUR = timedelta(hours=1)


class DirectStore(ObjectStore, DirectTransfers, Protocol):
    pass


@pytest.fixture(params=[Gcs, GcsWithStaging])
def store(storage: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[DirectStore]:
    with request.param(tmp_path).open() as store:
        yield store


def content(store: ObjectStore, key: str) -> bytes:
    with store.open(key) as stream:
        return stream.read()


def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return [found.key for found in store.list(prefix)]


def send(url: str, data: bytes, content_range: str | None = None) -> requests.Response:
    headers = {} if content_range is None else {"Content-Range": f"bytes {content_range}"}
    return requests.put(url, data=data, headers=headers, timeout=30, allow_redirects=False)


# Uploads --------------------------------------------------------------------------------------------------------------


def test_bytes_sent_to_an_upload_url_become_the_object(store: DirectStore) -> None:
    url = store.upload_url(UPLOAD, 10, "a note", None)
    assert keys(store) == []
    assert send(url, b"0123456789").status_code == 200
    assert content(store, UPLOAD) == b"0123456789"
    assert store.stat(UPLOAD).size == 10


def test_an_interrupted_upload_resumes_where_it_stopped(store: DirectStore) -> None:
    data = random.Random(1).randbytes(PIECE + 1000)
    url = store.upload_url(UPLOAD, len(data), "", None)
    response = send(url, data[:PIECE], f"0-{PIECE - 1}/{len(data)}")
    assert (response.status_code, response.headers["Range"]) == (308, f"bytes=0-{PIECE - 1}")
    assert keys(store) == []
    assert send(url, data[PIECE:], f"{PIECE}-{len(data) - 1}/{len(data)}").status_code == 200
    assert content(store, UPLOAD) == data


def test_an_upload_without_bytes_is_an_empty_object(store: DirectStore) -> None:
    assert send(store.upload_url(UPLOAD, 0, "", None), b"", "*/0").status_code == 200
    assert content(store, UPLOAD) == b""


def test_a_page_in_a_browser_can_upload(store: DirectStore) -> None:
    url = store.upload_url(UPLOAD, 3, "", "https://page.example")
    response = requests.put(url, data=b"abc", headers={"Origin": "https://page.example"}, timeout=30)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] in ("*", "https://page.example")


def test_the_note_is_kept_until_the_object_is_moved(store: DirectStore) -> None:
    note = '["r\\u00e9sum\\u00e9.txt", 3, null]'
    send(store.upload_url(UPLOAD, 3, note, None), b"abc")
    assert store.stat(UPLOAD).note == note
    assert [found.note for found in store.list("wg-temp/")] == [note]
    assert store.read(UPLOAD)[1].note == note
    store.move(UPLOAD, KEY)
    assert store.stat(KEY).note is None
    assert content(store, KEY) == b"abc"


# Downloads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [KEY, "wg-temp/a name+with?odd#characters%20é"])
def test_a_download_url_returns_the_object(store: DirectStore, key: str) -> None:
    store.put(key, [b"0123456789"])
    url = store.download_url(key, content_type="text/plain", disposition='attachment; filename="a.txt"', lifetime=HOUR)
    assert requests.get(url, timeout=30).content == b"0123456789"
    part = requests.get(url, headers={"Range": "bytes=4-"}, timeout=30)
    assert (part.status_code, part.content) == (206, b"456789")


def test_a_download_url_is_issued_without_a_lookup(store: DirectStore) -> None:
    url = store.download_url(KEY, content_type="text/plain", disposition=None, lifetime=HOUR)
    assert requests.get(url, timeout=30).status_code == 404


# CRC-32s --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 10, 5_000_000, 10_000_000])
def test_put_records_the_crc32_of_the_object(store: DirectStore, size: int) -> None:
    data = random.Random(size).randbytes(size)
    store.put(KEY, [data])
    assert store.stat(KEY).crc32 == zlib.crc32(data)
    assert [found.crc32 for found in store.list("")] == [zlib.crc32(data)]
    assert store.read(KEY)[1].crc32 == zlib.crc32(data)


@pytest.mark.parametrize("size", [10, 5_000_000])
def test_move_keeps_the_crc32_of_the_object(store: DirectStore, size: int) -> None:
    store.put(UPLOAD, [bytes(size)])
    store.move(UPLOAD, KEY)
    assert store.stat(KEY).crc32 == zlib.crc32(bytes(size))


def test_a_crc32_can_be_recorded(store: DirectStore) -> None:
    send(store.upload_url(UPLOAD, 3, "note", None), b"abc")
    assert store.stat(UPLOAD).crc32 is None
    store.record_crc32(UPLOAD, 2**32 - 1)
    found = store.stat(UPLOAD)
    assert (found.crc32, found.note) == (2**32 - 1, "note")


def test_recording_the_crc32_of_a_missing_object_is_not_found(store: DirectStore) -> None:
    with pytest.raises(ObjectNotFound):
        store.record_crc32(KEY, 1)


# Composition ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 32, 33, 1100])
def test_a_composed_object_is_the_concatenation_of_its_parts(store: DirectStore, count: int) -> None:
    source = random.Random(count)
    contents = {f"wg-content/{number:02}/x": source.randbytes(source.randrange(2000)) for number in range(20)}
    store.put_all(contents)
    # Mostly objects, some of them more than once, with bytes between them.
    parts: list[str | bytes] = [
        source.randbytes(source.randrange(1, 500)) if source.random() < 0.1 else source.choice(list(contents))
        for _ in range(count)
    ]
    store.compose("wg-zip/ab/c.zip", parts)
    joined = b"".join(contents[part] if isinstance(part, str) else part for part in parts)
    assert content(store, "wg-zip/ab/c.zip") == joined
    assert store.stat("wg-zip/ab/c.zip").size == len(joined)
    assert keys(store) == sorted([*contents, "wg-zip/ab/c.zip"])


def test_an_object_can_be_composed_of_bytes_only(store: DirectStore) -> None:
    store.compose(KEY, [b"one", b"two" * 1_000_000, b""])
    assert content(store, KEY) == b"one" + b"two" * 1_000_000
    assert keys(store) == [KEY]


@pytest.mark.parametrize("count", [1, 5, 40])
def test_composing_a_missing_part_is_not_found_and_leaves_nothing(store: DirectStore, count: int) -> None:
    store.put("a", [b"part"])
    with pytest.raises(ObjectNotFound):
        store.compose(KEY, ["a", b"glue"] * (count - 1) + ["missing"])
    assert keys(store) == ["a"]


def test_composing_onto_an_existing_object_leaves_it_unchanged(store: DirectStore) -> None:
    store.put("a", [b"part"])
    store.put(KEY, [b"the first"])
    store.compose(KEY, ["a", b"glue"])
    assert content(store, KEY) == b"the first"
    assert keys(store) == ["a", KEY]


def test_a_composed_object_can_be_a_part_of_another_object(store: DirectStore) -> None:
    store.put("a", [b"part"])
    store.compose("b", ["a", b"glue"])
    store.record_crc32("b", zlib.crc32(b"partglue"))
    store.compose("c", ["b", "b"])
    assert content(store, "c") == b"partglue" * 2
    assert store.stat("b").crc32 == zlib.crc32(b"partglue")


# The staging bucket ---------------------------------------------------------------------------------------------------


def test_what_is_deleted_soon_is_only_in_the_staging_bucket(storage: str, tmp_path: Path) -> None:
    """Also the parts of a zip: whatever is deleted from the other bucket is retained, and costs money."""
    backend = GcsWithStaging(tmp_path)
    written: set[str] = set()

    class Recording(GcsObjectStore):
        def _blob(self, key: str) -> Any:
            blob = super()._blob(key)
            written.add(f"{blob.bucket.name}/{key.partition('/')[0]}")
            return blob

    store = Recording(backend.bucket, "test", backend.staging_bucket)
    send(store.upload_url(UPLOAD, 3, "", None), b"abc")
    assert store.move(UPLOAD, KEY)
    store.compose("wg-zip/ab/c.zip", [KEY, b"-", KEY] * 20)
    assert content(store, "wg-zip/ab/c.zip") == b"abc-abc" * 20
    places = {f"{backend.bucket}/wg-content", f"{backend.staging_bucket}/wg-temp", f"{backend.staging_bucket}/wg-zip"}
    assert written == places
    assert keys(GcsObjectStore(backend.bucket, "test")) == [KEY]
    assert keys(GcsObjectStore(backend.staging_bucket, "test")) == ["wg-zip/ab/c.zip"]
    assert keys(store) == keys(store, "wg-") == [KEY, "wg-zip/ab/c.zip"]
