"""Storage errors: clients see one sentence without internal details, and no acknowledged data is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from failing_stores import failing_jobs, failing_objects, failing_queue
from http_server import run_server
from in_process import open_client

from cloud_executor.blobs.store import BlobStore
from cloud_executor.composition import Jobs, open_blobs, open_jobs
from cloud_executor.errors import StorageFull, Unavailable
from cloud_executor.settings import Settings

HASH = "0" * 40
JSON = "application/json"
LARGE = 3 * 1024 * 1024


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return open_blobs(Settings(data=tmp_path))


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return open_jobs(Settings(data=tmp_path))


def with_failing_stores(blobs: BlobStore, jobs: Jobs, error: Exception) -> tuple[BlobStore, Jobs]:
    return (
        replace(blobs, objects=failing_objects(blobs.objects, error)),
        replace(jobs, store=failing_jobs(jobs.store, error)),
    )


REQUESTS = [
    ("GET", f"/rest/blob/metadata/{HASH}", None),
    ("GET", "/rest/blob/metadata", None),
    ("GET", f"/rest/blob/view/{HASH}", None),
    ("GET", f"/rest/blob/download/{HASH}/path", None),
    ("POST", "/rest/blob/createFile/x", b"x"),
    ("POST", "/rest/blob/createFile/x", bytes(LARGE)),
    ("POST", "/rest/blob/createMetadata", b'{"content":"%b"}' % HASH.encode()),
    ("GET", "/rest/executor/", None),
    ("GET", "/rest/executor/?limit=5", None),
    ("GET", "/rest/executor/info/x", None),
    ("GET", "/rest/executor/worker", None),
    ("GET", "/rest/executor/output/x", None),
    ("POST", "/rest/executor/create/x", b""),
    ("POST", "/rest/executor/update/x", b""),
    ("POST", "/rest/executor/cancel/x", b""),
    ("POST", "/rest/executor/output/x", b'{"output":"x","outputNumber":0}'),
    ("POST", "/rest/executor/worker", b'{"clientId":"x"}'),
]


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (Unavailable(), 503, "A storage service is unavailable; try again."),
        (StorageFull(), 507, "The storage is full; free some space and try again."),
        (
            RuntimeError("/secret/path: password=hunter2"),
            500,
            "Internal error; details are in the server log.",
        ),
    ],
)
def test_every_route_responds_with_one_sentence(
    tmp_path: Path, blobs: BlobStore, jobs: Jobs, error: Exception, status: int, sentence: str
) -> None:
    failing_blobs, failing_executor = with_failing_stores(blobs, jobs, error)
    with open_client(tmp_path, blobs=failing_blobs, jobs=failing_executor) as client:
        for method, path, body in REQUESTS:
            response = client.open(path, method=method, data=body, content_type=JSON)
            assert (response.status_code, response.text) == (status, sentence), path
            assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
            assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert response.headers.get("Retry-After") == ("5" if status == 503 else None)
            assert response.headers.get("X-WebGME-Media-Type") == ("webgme.v1" if "executor" in path else None)


def test_the_cause_of_an_error_is_logged(
    tmp_path: Path, blobs: BlobStore, jobs: Jobs, capfd: pytest.CaptureFixture[str]
) -> None:
    failing_blobs, failing_executor = with_failing_stores(blobs, jobs, RuntimeError("the cause"))
    with open_client(tmp_path, blobs=failing_blobs, jobs=failing_executor) as client:
        client.get("/rest/executor/info/x")
        assert client.get("/rest/executor/unknown").status_code == 404
    logged = capfd.readouterr().err
    assert "the cause" in logged
    assert logged.count("request_failed") == 1


@pytest.mark.parametrize(("size", "method"), [(1, "put_all"), (LARGE, "put"), (LARGE, "move")])
def test_a_failed_upload_does_not_create_a_blob(tmp_path: Path, blobs: BlobStore, size: int, method: str) -> None:
    failing = replace(blobs, objects=failing_objects(blobs.objects, StorageFull(), method))
    with open_client(tmp_path, blobs=failing) as client:
        assert client.post("/rest/blob/createFile/x", data=bytes(size)).status_code == 507
    assert list(blobs.list_metadata(everything=True)) == []
    with open_client(tmp_path) as client:
        assert client.post("/rest/blob/createFile/x", data=bytes(size)).status_code == 200


def test_a_job_exists_even_if_it_could_not_be_published(tmp_path: Path, jobs: Jobs) -> None:
    failing = replace(jobs, queue=failing_queue(jobs.queue, Unavailable(), "publish"))
    with open_client(tmp_path, jobs=failing) as client:
        response = client.post("/rest/executor/create/x")
        assert response.status_code == 200
        assert client.post("/rest/executor/cancel/x", json={"secret": response.get_json()["secret"]}).status_code == 200


def test_a_full_disk_is_507_and_loses_nothing(small_disk: Path) -> None:
    with run_server(small_disk) as server:
        kept = server.create_file("kept.bin", b"kept" * 1000)
        job = server.post("/rest/executor/create/before", {"labels": ["x"]}).json
        before = server.stored_files()
        response = server.send("POST", "/rest/blob/createFile/large.bin", bytes(64 * 1024 * 1024))
        assert (response.status, response.text) == (507, "The storage is full; free some space and try again.")
        assert server.stored_files() == before

        filler = small_disk / "filler"
        with filler.open("wb") as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(bytes(65536))
                file.flush()
        assert server.send("POST", "/rest/blob/createFile/small.bin", b"new").status == 507
        assert server.post("/rest/executor/create/after", {"labels": ["x" * 256] * 64}).status == 507
        assert server.stored_files() == before
        assert server.get(f"/rest/blob/view/{kept}").body == b"kept" * 1000
        assert server.get("/rest/executor/info/before").status == 200

        filler.unlink()
        assert server.send("POST", "/rest/blob/createFile/small.bin", b"new").status == 200
        assert server.post("/rest/executor/create/after", {"labels": ["x"]}).status == 200
        assert server.post("/rest/executor/cancel/before", {"secret": job["secret"]}).status == 200
