"""The WSGI application: routes a request, and turns errors into responses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from flask import Request, Response

from functions.transport import responses
from functions.transport.errors import error_response
from functions.transport.origins import OriginPolicy
from functions.transport.request_body import discard
from functions.transport.route_list import no_such_route, route_list
from functions.transport.target import Target


class Routes(Protocol):
    """The routes of one API."""

    def respond(self, request: Request, target: Target) -> Response | None:
        """None if the path belongs to another API."""


class Application:
    """Serves the given routes.

    It replaces the WSGI application of functions-framework for two reasons. The framework's router handles some
    requests itself (it redirects, and rejects `/robots.txt` and paths with a line break), while the APIs need each path
    exactly as it was sent (`Target`). And the framework's router and contexts take more time than the functions.
    """

    def __init__(self, origins: OriginPolicy, *routes: Routes) -> None:
        self._origins = origins
        self._routes = routes

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return self.respond(Request(environ))(environ, start_response)

    def respond(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return self._origins.preflight(request.environ)
        response = self._origins.mark(request.environ, self._route(request))
        if response.status_code >= 400:
            response.call_on_close(lambda: discard(request))
        return response

    def _route(self, request: Request) -> Response:
        try:
            self._origins.check(request.environ)
            target = Target.of(request.environ)
            for routes in self._routes:
                response = routes.respond(request, target)
                if response is not None:
                    return response
            if request.method in ("GET", "HEAD") and target.below("rest", "routes") == ():
                return responses.text(route_list())
            if request.method in ("GET", "HEAD") and target.below("openapi.json") == ():
                from functions.openapi.document import openapi_json  # most processes never need it

                return responses.response(openapi_json(), responses.BLOB_JSON)
            raise no_such_route(request.environ, target)
        except Exception as error:  # the outermost handler: error_response logs internal errors
            return error_response(error)
