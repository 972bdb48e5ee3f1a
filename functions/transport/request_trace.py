"""The trace that a request belongs to: 32 hex digits, set by its sender or by Google's front end.

W3C's header takes precedence over Google's older one, as in Google's own services
(https://cloud.google.com/trace/docs/trace-context). A malformed header is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from werkzeug.wsgi import ClosingIterator

from cloud_executor.json_logging import logged_with

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_TRACE = "(?!0{32})([0-9a-f]{32})"

_W3C = re.compile(f"(?!ff|00.{{54}})[0-9a-f]{{2}}-{_TRACE}-(?!0{{16}})[0-9a-f]{{16}}-[0-9a-f]{{2}}(?:-.*)?")
"""Version, trace, parent, flags (https://www.w3.org/TR/trace-context/); versions after 00 may append more fields."""

_GOOGLE = re.compile(f"{_TRACE}(?:/[0-9]*)?(?:;o=[0-9]*)?")
"""X-Cloud-Trace-Context: trace, span, options; the span and the options may be empty or missing."""


def trace_of(environ: Mapping[str, Any]) -> str | None:
    """The trace of a WSGI request; None if it has none."""
    w3c, google = environ.get("HTTP_TRACEPARENT"), environ.get("HTTP_X_CLOUD_TRACE_CONTEXT")
    if w3c is None and google is None:
        return None
    found = _W3C.fullmatch(w3c or "") or _GOOGLE.fullmatch(google or "")
    return None if found is None else found[1]


def traced(application: WSGIApplication) -> WSGIApplication:
    """Wrap a WSGI application so that everything it logs while it serves a request has the trace of the request."""

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        trace = trace_of(environ)
        if trace is None:
            return application(environ, start_response)
        with ExitStack() as request:
            request.enter_context(logged_with(trace=trace))
            body = application(environ, start_response)
            if type(body) is environ.get("wsgi.file_wrapper"):
                return body  # unwrapped, so that the server recognizes it and sends the file itself
            return ClosingIterator(body, request.pop_all().close)

    return serve
