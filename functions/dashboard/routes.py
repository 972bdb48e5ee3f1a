"""Serves the dashboard's static files: the page at `/`, everything else below `/dashboard/<version>/`.

The version is a digest of all files, and the page names it in every address. A browser therefore keeps the files
forever, requests only the page again, and never mixes the files of two versions.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from flask import Request, Response
from werkzeug.http import is_resource_modified, parse_accept_header

from functions.transport import responses
from functions.transport.responses import Header
from functions.transport.target import Target

PREFIX = "dashboard"
"""First segment of the paths of all files except the page; no path of the protocol begins with it."""

PAGE = "index.html"

MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
"""Media types by the files' extensions. Files with other extensions are not served."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self' https://storage.googleapis.com; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
"""What the page may do: run only its own scripts, never turn a string into script, and talk only to this server.

Large files go directly to and from Cloud Storage.
"""

_SECURITY: tuple[Header, ...] = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Vary", "Accept-Encoding"),
)
_KEEP_FOREVER = "public, max-age=31536000, immutable"
_REVALIDATE = "no-cache"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is sent."""

    content: bytes
    compressed: bytes
    media_type: str
    etag: str

    @classmethod
    def of(cls, name: str, content: bytes) -> StaticFile:
        compressed = gzip.compress(content, 9, mtime=0)
        return cls(
            content, compressed, MEDIA_TYPES[name.rpartition(".")[2]], f'"{hashlib.sha256(content).hexdigest()}"'
        )


@dataclass(frozen=True, slots=True)
class DashboardRoutes:
    """Handles requests for the dashboard's files. They contain no data, so they need no credentials."""

    def respond(self, request: Request, target: Target) -> Response | None:
        """None if the path belongs to no file."""
        if request.method not in ("GET", "HEAD"):
            return None
        if target.segments == ("",):
            return _response(request, dashboard_files()[PAGE], _REVALIDATE)
        rest = target.below(PREFIX)
        if not rest or (found := dashboard_files().get("/".join(rest[1:]))) is None:
            return None
        # A page of another version gets the file that exists, which no cache may then keep under that name.
        return _response(request, found, _KEEP_FOREVER if rest[0] == _version() else _REVALIDATE)


@cache
def dashboard_files() -> dict[str, StaticFile]:
    """All files, by their path below `static`. In the page, `dashboard/` becomes `dashboard/<version>/`."""
    contents = _contents()
    own = f'"{PREFIX}/'.encode()
    contents[PAGE] = contents[PAGE].replace(own, own + _version().encode() + b"/")
    return {name: StaticFile.of(name, content) for name, content in contents.items()}


@cache
def _version() -> str:
    digest = hashlib.sha256()
    for name, content in sorted(_contents().items()):
        digest.update(f"{name}\n{len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def _contents() -> dict[str, bytes]:
    return dict(_files_below(resources.files(__package__) / "static", ""))


def _files_below(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _files_below(entry, f"{prefix}{entry.name}/")
        elif entry.name.rpartition(".")[2] in MEDIA_TYPES:
            found.append((prefix + entry.name, entry.read_bytes()))
    return found


def _response(request: Request, file: StaticFile, caching: str) -> Response:
    accepted = parse_accept_header(request.environ.get("HTTP_ACCEPT_ENCODING"))
    compressed = accepted.quality("gzip") > 0
    # A strong ETag names one representation.
    etag = f'{file.etag[:-1]}-gzip"' if compressed else file.etag
    headers: list[Header] = [*_SECURITY, ("ETag", etag), ("Cache-Control", caching)]
    if "HTTP_IF_NONE_MATCH" in request.environ and not is_resource_modified(request.environ, etag=etag):
        return responses.response((), file.media_type, 304, headers)
    body = file.compressed if compressed else file.content
    if compressed:
        headers.append(("Content-Encoding", "gzip"))
    headers.append(("Content-Length", str(len(body))))
    return responses.response(() if request.method == "HEAD" else body, file.media_type, 200, headers)
