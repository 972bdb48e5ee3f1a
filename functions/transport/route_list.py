"""The list of all routes, for `GET /rest/routes` and for the responses to unknown paths."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from cloud_executor.version import VERSION
from functions.transport.errors import NoSuchRoute
from functions.transport.target import Target

LIST_PATH = "/rest/routes"
DESCRIPTION_PATH = "/openapi.json"

ROUTES = (
    "POST /rest/blob/createFile/<name>",
    "POST /rest/blob/createMetadata",
    "GET /rest/blob/metadata/<hash>",
    "GET /rest/blob/metadata",
    "GET /rest/blob/view/<hash>",
    "GET /rest/blob/view/<hash>/<path>",
    "GET /rest/blob/download/<hash>",
    "GET /rest/blob/download/<hash>/<path>",
    "POST /rest/blob/missing",
    "POST /rest/blob/uploads",
    "POST /rest/blob/uploads/<id>/complete",
    "DELETE /rest/blob/<hash>",
    "POST /rest/executor/create/<id>",
    "GET /rest/executor/info/<id>",
    "GET /rest/executor",
    "POST /rest/executor/cancel/<id>",
    "DELETE /rest/executor/<id>",
    "GET /rest/executor/output/<id>",
    "POST /rest/executor/output/<id>",
    "POST /rest/executor/update/<id>",
    "GET /rest/executor/stats",
    "GET /rest/executor/worker",
    "POST /rest/executor/worker",
    "POST /rest/tokens",
    "GET /rest/tokens",
    "DELETE /rest/tokens/<id>",
    "GET /rest/quotas/<user>",
    "POST /rest/quotas/<user>",
    f"GET {LIST_PATH}",
    f"GET {DESCRIPTION_PATH}",
)

LONGEST_COMPARED = 100
"""Length of the part of a path that is compared, in characters."""


def route_list() -> str:
    """The version of the server and all routes, one in each line."""
    return "\n".join([f"Cloud Executor {VERSION}", *ROUTES, ""])


def no_such_route(environ: Mapping[str, Any], target: Target) -> NoSuchRoute:
    """The error for a request that no route serves."""
    method = environ["REQUEST_METHOD"]
    # A placeholder can be anything, so a route that deletes is near to many paths.
    routes = [route for route in ROUTES if method == "DELETE" or not route.startswith("DELETE ")]
    nearest = max(routes, key=lambda route: _similarity(route, method, target.segments))
    scheme, host = environ["wsgi.url_scheme"], environ.get("HTTP_HOST")
    if environ.get("HTTP_X_FORWARDED_PROTO") == "https":
        scheme = "https"
    url = LIST_PATH if host is None else f"{scheme}://{host[:LONGEST_COMPARED]}{LIST_PATH}"
    return NoSuchRoute(f"Unknown path or method; the nearest route is {nearest}. GET {url} lists all routes.")


def _similarity(route: str, method: str, segments: tuple[str, ...]) -> tuple[float, bool]:
    """How near a request is to a route: by its path, and then by its method."""
    verb, _, path = route.partition(" ")
    wanted = path.split("/")[1:]
    # A placeholder stands for any segment, so it takes the request's own.
    filled = [
        given if name.startswith("<") and given else name
        for name, given in zip(wanted, (*segments, *[""] * len(wanted)), strict=False)
    ]
    given_path = "/".join(segments).rstrip("/").casefold()[:LONGEST_COMPARED]
    filled_path = "/".join(filled).casefold()[:LONGEST_COMPARED]
    near = difflib.SequenceMatcher(None, given_path, filled_path).ratio()
    return near, verb == ("GET" if method == "HEAD" else method)
