"""A server in memory whose jobs end when a test says so."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

import httpx

from cloud_executor import Client

URL = "http://server.example"


class FakeServer:
    """Pass `transport` to a client."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.blobs: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.output: dict[str, list[str]] = {}
        self.requests: list[httpx.Request] = []
        self.ending: dict[str, Any] = {"status": "SUCCESS", "exitCode": 0}
        """Fields that a job gets at its second poll; none: it does not end."""
        self.results: dict[str, bytes] = {"job_stdout.txt": b"output\n", "deep/b.txt": b"b"}
        self.polls: dict[str, int] = {}
        self.most_unfinished = 0

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self)

    @property
    def client(self) -> Client:
        return Client(URL, transport=self.transport)

    def put_file(self, name: str, content: bytes) -> str:
        content_hash = hashlib.sha1(content).hexdigest()
        self.contents[content_hash] = content
        return self.put_metadata({"name": name, "size": len(content), "content": content_hash, "contentType": "object"})

    def put_metadata(self, metadata: Mapping[str, Any]) -> str:
        blob_hash = hashlib.sha1(json.dumps(metadata, sort_keys=True).encode()).hexdigest()
        self.blobs[blob_hash] = dict(metadata)
        return blob_hash

    def files_of(self, blob_hash: str) -> dict[str, bytes]:
        """The files of a job or of an artifact."""
        content = self.blobs[blob_hash]["content"]
        if isinstance(content, dict):
            return {path: self._content(entry) for path, entry in content.items()}
        with zipfile.ZipFile(io.BytesIO(self.contents[content])) as archive:
            return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}

    def config_of(self, job_hash: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.files_of(job_hash)["executor_config.json"])
        return found

    def paths(self) -> list[str]:
        return [request.url.path for request in list(self.requests)]

    def _content(self, entry: Mapping[str, Any]) -> bytes:
        if entry["contentType"] == "object":
            return self.contents[entry["content"]]
        return self.contents[self.blobs[entry["content"]]["content"]]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        body = request.read()
        parts = [unquote(part) for part in request.url.raw_path.decode().partition("?")[0].split("/")[2:]]
        query = {name: values[0] for name, values in parse_qs(request.url.query.decode()).items()}
        try:
            found = self._answer(request.method, parts, query, body)
        except KeyError:
            return httpx.Response(404)
        return found if isinstance(found, httpx.Response) else httpx.Response(200, json=found)

    def _answer(self, method: str, parts: list[str], query: dict[str, str], body: bytes) -> Any:
        match method, *parts:
            case "POST", "blob", "createFile", name:
                return {self.put_file(name, body): {}}
            case "POST", "blob", "createMetadata":
                return {self.put_metadata(json.loads(body)): {}}
            case "POST", "blob", "missing":
                return {"missing": [found for found in json.loads(body)["contents"] if found not in self.contents]}
            case "GET", "blob", "metadata", blob_hash:
                return self.blobs[blob_hash]
            case "GET", "blob", "download", blob_hash, *path:
                return httpx.Response(200, content=self._download(blob_hash, path))
            case "POST", "executor", "create", job_hash:
                return self._create(job_hash, query, json.loads(body))
            case "GET", "executor", "info", job_hash:
                return self._info(job_hash)
            case "GET", "executor", "output", job_hash:
                segments = list(enumerate(self.output.get(job_hash, ())))[int(query.get("start", 0)) :]
                return [{"outputNumber": number, "output": output} for number, output in segments]
            case "POST", "executor", "cancel", job_hash:
                if json.loads(body)["secret"] != f"secret of {job_hash}":
                    return httpx.Response(403, text="The secret is wrong.")
                self.jobs[job_hash]["status"] = "CANCELED"
                return httpx.Response(200, text="OK")
            case "DELETE", "executor", job_hash:
                if self.jobs[job_hash]["status"] == "CREATED":
                    return httpx.Response(409, text="The job has not finished.")
                del self.jobs[job_hash]
                return httpx.Response(200, text="OK")
            case "DELETE", "blob", blob_hash:
                del self.blobs[blob_hash]
                return httpx.Response(200, text="OK")
            case "GET", "executor", "":
                wanted = query.get("status")
                return {key: job for key, job in list(self.jobs.items()) if wanted in (None, job["status"])}
            case "GET", "executor", "worker":
                return {"w": {"clientId": "w", "lastSeen": 1769860800.5, "labels": ["a"], "jobs": []}}
        raise KeyError(parts)

    def _download(self, blob_hash: str, path: list[str]) -> bytes:
        metadata = self.blobs[blob_hash]
        if path:
            return self._content(metadata["content"]["/".join(path)])
        if not isinstance(metadata["content"], dict):
            return self.contents[metadata["content"]]
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, content in self.files_of(blob_hash).items():
                archive.writestr(name, content)
        return packed.getvalue()

    def _create(self, job_hash: str, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        if job_hash in self.jobs and "rerun" not in query:
            return self.jobs[job_hash]
        created = f"2026-01-31T12:00:{len(self.jobs):02}.000Z"
        shown = {name: body[name] for name in ("labels", "name", "tags") if name in body}
        self.jobs[job_hash] = {"hash": job_hash, "status": "CREATED", "createTime": created, **shown}
        self.polls[job_hash] = 0
        self.most_unfinished = max(
            self.most_unfinished, sum(job["status"] == "CREATED" for job in list(self.jobs.values()))
        )
        return {**self.jobs[job_hash], "secret": f"secret of {job_hash}"}

    def _info(self, job_hash: str) -> dict[str, Any]:
        job = self.jobs[job_hash]
        self.polls[job_hash] += 1
        if segments := self.output.get(job_hash):
            job["outputNumber"] = len(segments) - 1
        if self.polls[job_hash] == 2 and self.ending and job["status"] == "CREATED":
            entries = {}
            for path, content in self.results.items():
                self.contents[hashlib.sha1(content).hexdigest()] = content
                entries[path] = {"content": hashlib.sha1(content).hexdigest(), "contentType": "object"}
            artifact = self.put_metadata({"name": "all.zip", "content": entries, "contentType": "complex"})
            job |= {**self.ending, "resultHashes": {"all": artifact}}
        return job
