"""A stand-in for the Compute API: the instance groups and autoscalers of the worker pools."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from servers.running import running

REGION = "/compute/v1/projects/our-project/regions/us-central1"
INSTANCES = "https://www.googleapis.com/compute/v1/projects/our-project/zones"


@dataclass
class ComputeService:
    """The group and autoscaler `our-default`. Setting the minimum grows the group, unless `slow` is set."""

    url: str = ""
    minimum: int = 0
    maximum: int = 10
    size: int = 0
    slow: bool = False
    members: dict[str, str] = field(default_factory=dict)
    """URL of each VM, by its id."""
    minimums: list[int] = field(default_factory=list)
    """Every minimum that was set."""
    deleted: list[str] = field(default_factory=list)
    """URLs of the VMs that were deleted."""
    calls: int = 0
    refusal: tuple[HTTPStatus, dict[str, Any]] | None = None
    """Response to every request, if set."""
    page_size: int = 500

    def respond(self, method: str, url: str, body: Any) -> tuple[HTTPStatus, dict[str, Any]]:
        self.calls += 1
        if self.refusal is not None:
            return self.refusal
        path, query = urlsplit(url).path.removeprefix(REGION), parse_qs(urlsplit(url).query)
        match method, path:
            case "GET", "/autoscalers/our-default":
                # The API omits numbers that are zero.
                least = {} if self.minimum == 0 else {"minNumReplicas": self.minimum}
                return HTTPStatus.OK, {"autoscalingPolicy": {**least, "maxNumReplicas": self.maximum}}
            case "PATCH", "/autoscalers" if query["autoscaler"] == ["our-default"]:
                self.minimum = body["autoscalingPolicy"]["minNumReplicas"]
                self.minimums.append(self.minimum)
                if not self.slow:
                    self.size = max(self.size, self.minimum)
                return HTTPStatus.OK, {"status": "RUNNING"}
            case "GET", "/instanceGroupManagers/our-default":
                return HTTPStatus.OK, {"targetSize": self.size}
            case "POST", "/instanceGroupManagers/our-default/listManagedInstances":
                first = int(query.get("pageToken", ["0"])[0])
                members = [{"id": found, "instance": url} for found, url in self.members.items()]
                rest = first + self.page_size < len(members)
                page = {"managedInstances": members[first : first + self.page_size]}
                return HTTPStatus.OK, page | ({"nextPageToken": str(first + self.page_size)} if rest else {})
            case "POST", "/instanceGroupManagers/our-default/deleteInstances":
                self.deleted += body["instances"]
                self.size -= len(body["instances"])
                return HTTPStatus.OK, {"status": "RUNNING"}
        return HTTPStatus.NOT_FOUND, {"error": {"code": 404, "message": f"The resource '{path}' was not found"}}


@contextmanager
def compute_service() -> Iterator[ComputeService]:
    service = ComputeService()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"] or 0))
            with lock:
                status, answer = service.respond(self.command, self.path, json.loads(content) if content else None)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = _handle

        def log_message(self, *arguments: object) -> None:
            pass

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as address:
        service.url = f"http://{address}"
        yield service
