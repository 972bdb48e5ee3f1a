"""The entry points of the functions; `functions-framework --source functions/main.py --target NAME` serves one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import flask
import functions_framework
from flask import Request, Response

from cloud_executor import composition
from cloud_executor.blobs.store import BlobStore
from cloud_executor.jobs.clients import Executor
from cloud_executor.json_logging import configure_logging
from cloud_executor.settings import Settings
from functions.transport import responses
from functions.transport.errors import NoSuchRoute, error_response
from functions.transport.request_body import discard
from functions.transport.request_trace import traced
from functions.transport.target import Target

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from cloudevents.http import CloudEvent

_settings = Settings.from_env(os.environ)
configure_logging("functions", _settings.project)


class _Routes(Protocol):
    """A part of what a function answers."""

    def answer(self, request: Request, target: Target) -> Response | None:
        """None: the address belongs to another part."""


def blob(request: Request) -> Response:
    """The blob API alone."""
    return _answer(request, _blob_routes())


def executor(request: Request) -> Response:
    """The executor API alone."""
    return _answer(request, _executor_routes())


def api(request: Request) -> Response:
    """Both APIs."""
    return _answer(request, _blob_routes(), _executor_routes())


def sweep(request: Request) -> Response:
    """The upkeep, whenever a scheduler asks for it."""
    return _answer(request, _sweep_route())


@functions_framework.cloud_event
def dead_letter(event: CloudEvent) -> None:
    """Ends the job of a message that no worker could bring to its end."""
    from functions.dead_letters import record_dead_letter

    record_dead_letter(_executor(), event.get_data())


@cache
def _blob_store() -> BlobStore:
    return composition.open_blob_store(_settings, serves=True)


@cache
def _executor() -> Executor:
    return composition.open_executor(_settings)


@cache
def _blob_routes() -> _Routes:
    from functions.blob.routes import BlobRoutes

    return BlobRoutes(_blob_store(), _settings.allow_list_all, _settings.inline_limit)


@cache
def _executor_routes() -> _Routes:
    from functions.executor.routes import ExecutorRoutes

    return ExecutorRoutes(_executor(), _settings.nonce, _settings.pools)


@cache
def _sweep_route() -> _Routes:
    from functions.sweep_route import SweepRoute

    return SweepRoute(_executor())


def _answer(request: Request, *parts: _Routes) -> Response:
    if request.method == "OPTIONS":
        return responses.preflight()
    response = _routed(request, parts)
    if response.status_code >= 400:
        response.call_on_close(lambda: discard(request))
    return response


def _routed(request: Request, parts: Iterable[_Routes]) -> Response:
    try:
        target = Target.of(request.environ)
        for routes in parts:
            response = routes.answer(request, target)
            if response is not None:
                return response
        raise NoSuchRoute
    except Exception as error:  # the edge of the service: error_response logs what is our fault
        return error_response(error)


def _serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """What the framework's application does with a request, but for its router and its contexts.

    The router answers some addresses by itself: it redirects, and knows neither a line break nor `/robots.txt`; ours
    are read from what was sent (`Target`). And both together cost more than the function.
    """
    return _function(Request(environ))(environ, start_response)


_HTTP: dict[str, tuple[Callable[[Request], Response], tuple[Callable[[], object], ...]]] = {
    "blob": (blob, (_blob_routes,)),
    "executor": (executor, (_executor_routes,)),
    "api": (api, (_blob_routes, _executor_routes)),
    "sweep": (sweep, (_sweep_route,)),
}
_target = flask.current_app.name
_application: WSGIApplication = flask.current_app.wsgi_app
if _target == "dead_letter":
    _executor()
elif _target in _HTTP:
    _function, _needed = _HTTP[_target]
    # What it needs is opened while it loads, by this one thread; what it does not need is not even imported.
    for _open in _needed:
        _open()
    _application = _serve
flask.current_app.wsgi_app = traced(_application)  # type: ignore[assignment, method-assign]  # as Flask says
