from __future__ import annotations

import uuid

import pytest
from http_server import Server


@pytest.fixture(scope="module")
def readable(server: Server) -> list[str]:
    """Paths of every GET route, for existing and for missing blobs and jobs."""
    file, job = server.create_file("head.html", b"<p>" * 1000), uuid.uuid4().hex
    artifact = server.create_artifact("head.zip", {"dir/a.html": ("softLink", file)})
    server.post(f"/rest/executor/create/{job}", {"labels": ["no-worker"]})
    server.post(f"/rest/executor/output/{job}", {"outputNumber": 0, "output": "x" * 1000})
    blobs = [
        *("metadata", "metadata?all=1", f"metadata/{file}", f"view/{file}", f"download/{file}", f"view/{artifact}"),
        *(f"view/{artifact}/dir/a.html", "metadata/x", "view/x", "download/x/y"),
    ]
    jobs = ["", f"info/{job}", f"output/{job}", "worker", "info/absent", "output/absent"]
    return [*(f"/rest/blob/{path}" for path in blobs), *(f"/rest/executor/{path}" for path in jobs)]
