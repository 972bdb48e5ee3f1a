"""The local stack with its blobs in a bucket: a job runs from upload to results, and no blob is on the local disk."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client
from stack_process import StartStack, job_folder, run

OVER_THE_LIMIT = 9 * 1024 * 1024


@pytest.fixture
def s3_settings(s3_address: str) -> dict[str, str]:
    boto3.client(
        "s3",
        endpoint_url=s3_address,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    ).create_bucket(Bucket="stack")
    return {
        "EXECUTOR_OBJECTS": "s3",
        "EXECUTOR_S3_ENDPOINT": s3_address,
        "EXECUTOR_BUCKET": "stack",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }


@pytest.fixture
def gcs_settings(storage: str) -> dict[str, str]:
    Client("project", AnonymousCredentials()).create_bucket("stack")
    return {"EXECUTOR_OBJECTS": "gcs", "EXECUTOR_PROJECT": "project", "EXECUTOR_BUCKET": "stack"}


@pytest.mark.parametrize("service", ["s3", "gcs"])
def test_a_job_runs_with_its_blobs_in_a_bucket(
    service: str, tmp_path: Path, start_stack: StartStack, request: pytest.FixtureRequest
) -> None:
    out = tmp_path / "out"
    # With Cloud Storage, the results exceed the response limit: the client is redirected to a zip composed there.
    job = job_folder(tmp_path / "job", f"echo hello; head -c {OVER_THE_LIMIT} /dev/zero > large; echo 1 > small")
    stack = start_stack("--slots", "1", **request.getfixturevalue(f"{service}_settings"))
    finished = run("run", job, "--url", stack.url, "--out", out)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == b"hello\n"
    assert (out / "large").read_bytes() == bytes(OVER_THE_LIMIT)
    assert (out / "small").read_bytes() == b"1\n"
    assert not (stack.data / "blobs").exists()
