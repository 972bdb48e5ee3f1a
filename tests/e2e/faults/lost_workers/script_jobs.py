"""Jobs that run a script, and their results."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping

from deployment import Here

from cloud_executor.model.jobs.job import Job

RESULT = "result.txt"


def config_of(script: str, **fields: object) -> bytes:
    artifacts = [{"name": "result", "resultPatterns": [RESULT]}]
    return json.dumps({"cmd": "sh", "args": ["-c", script], "resultArtifacts": artifacts, **fields}).encode()


def zip_of(script: str, files: Mapping[str, bytes], **fields: object) -> bytes:
    """Zip with the source of a job."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {"executor_config.json": config_of(script, **fields), **files}.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def create_script(here: Here, script: str, files: Mapping[str, bytes] | None = None, **fields: object) -> str:
    """Create a job whose result is the file RESULT, with more config `fields`; return its hash."""
    source = here.blobs.create_file("job.zip", [zip_of(script, files or {}, **fields)]).hash
    here.jobs.clients.create(source)
    return source


def result_of(here: Here, job: Job) -> str:
    assert job.result_hashes is not None
    artifact = here.blobs.metadata(job.result_hashes["result"]).metadata
    file = here.blobs.metadata(artifact.files[RESULT].content_hash).metadata
    with here.blobs.open_content(file.content_hash) as content:
        return content.read().decode()
