"""The entry points of the functions; `functions-framework --source functions/main.py --target NAME` serves one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import flask
from flask import Request, Response

from cloud_executor.composition import open_blob_store, open_executor
from cloud_executor.json_logging import configure_logging
from cloud_executor.settings import Settings
from functions import responses
from functions.blob_routes import BlobRoutes
from functions.errors import NoSuchRoute, error_response
from functions.executor_routes import ExecutorRoutes
from functions.label_jobs import LabelJobs
from functions.request_body import discard
from functions.target import Target

configure_logging("functions")
_settings = Settings.from_env(os.environ)
_blob_routes = BlobRoutes(open_blob_store(_settings), _settings.allow_list_all)
_executor_routes = ExecutorRoutes(open_executor(_settings), _settings.nonce, LabelJobs(_settings.label_jobs))


def blob(request: Request) -> Response:
    """The blob API alone."""
    return _answer(request, _blob_routes)


def executor(request: Request) -> Response:
    """The executor API alone."""
    return _answer(request, _executor_routes)


def api(request: Request) -> Response:
    """Both APIs."""
    return _answer(request, _blob_routes, _executor_routes)


def _answer(request: Request, *apis: BlobRoutes | ExecutorRoutes) -> Response:
    if request.method == "OPTIONS":
        return responses.preflight()
    response = _routed(request, apis)
    if response.status_code >= 400:
        response.call_on_close(lambda: discard(request))
    return response


def _routed(request: Request, apis: Iterable[BlobRoutes | ExecutorRoutes]) -> Response:
    try:
        target = Target.of(request.environ)
        for routes in apis:
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


_function: Callable[[Request], Response] = {"blob": blob, "executor": executor, "api": api}[flask.current_app.name]
flask.current_app.wsgi_app = _serve  # type: ignore[method-assign]
