"""The entry points of the cloud functions; `functions-framework --source functions/main.py --target NAME` serves one."""

from __future__ import annotations

import os

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
from functions.target import Target

# The framework's router would answer `a//b` with a redirect to `a/b`; to us these are two names.
flask.current_app.url_map.merge_slashes = False

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
    try:
        target = Target.of(request.environ)
        for routes in apis:
            response = routes.answer(request, target)
            if response is not None:
                return response
        raise NoSuchRoute
    except Exception as error:  # the edge of the service: error_response logs what is our fault
        return error_response(error)
