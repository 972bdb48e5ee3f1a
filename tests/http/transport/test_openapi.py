"""The description of the routes at `/openapi.json`, compared with what the server does."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from http_server import EMBEDDED, Server, run_server
from hypothesis import HealthCheck, given, settings
from memory_folders import memory_folder

from functions.openapi.document import openapi, undescribed
from functions.transport.route_list import ROUTES

PROJECT = Path(__file__).parents[3]
DOCUMENT = openapi()
EXAMPLES = 6
EXAMPLES_ON_EMULATORS = 2


@pytest.fixture(scope="module")
def server(backends: Callable[[], Mapping[str, str]]) -> Iterator[Server]:
    """A server without the data of other tests: some of it has lone surrogates, which the checks do not accept."""
    with memory_folder() as folder, run_server(folder, backends=backends()) as running:
        yield running


def test_the_document_is_served(server: Server) -> None:
    response = server.get("/openapi.json")
    assert (response.status, response["Content-Type"]) == (200, "application/json")
    assert response.json == DOCUMENT
    assert response.json["openapi"] == "3.1.0"
    assert server.send("HEAD", "/openapi.json").status == 200


def test_every_route_is_described_and_every_described_route_exists() -> None:
    assert undescribed() == set()


@pytest.mark.parametrize("api", ["blob", "executor"])
def test_the_list_contains_the_routes_of_the_code(api: str) -> None:
    prefix = f"/rest/{api}"
    listed = {re.sub("<[a-z]+>", "<>", route) for route in ROUTES if f"{prefix}/" in f"{route}/"}
    assert set(routes_in(PROJECT / "functions" / api / "routes.py", prefix)) == listed


def routes_in(path: Path, prefix: str) -> Iterator[str]:
    """The routes that a file matches in `case` statements; a placeholder is `<>`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.match_case) and isinstance(node.pattern, ast.MatchSequence):
            methods, segments = node.pattern.patterns
            assert isinstance(segments, ast.MatchSequence)
            method = next(value for value in strings_in(methods) if value != "HEAD")
            paths = [prefix]
            for segment in segments.patterns:
                if isinstance(segment, ast.MatchStar):
                    paths += [f"{found}/<>" for found in paths]
                else:
                    paths = [f"{found}/{text}" for found in paths for text in list(strings_in(segment)) or ["<>"]]
            yield from (f"{method} {found}" for found in paths)


def strings_in(pattern: ast.AST) -> Iterator[str]:
    for node in ast.walk(pattern):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def place_of(route: str) -> tuple[str, str]:
    """The path and the method of a route, as in the document."""
    method, path = route.split(" ")
    return path.replace("<", "{").replace(">", "}"), method.lower()


@cache
def schema() -> Any:
    import schemathesis  # every test process collects this module, but only one needs the library, which loads slowly

    return schemathesis.openapi.from_dict(DOCUMENT)


def can_be_invalid(route: str) -> bool:
    """Whether the route takes more than strings in its path."""
    path, method = place_of(route)
    described = DOCUMENT["paths"][path][method]
    in_query = any(parameter["in"] == "query" for parameter in described["parameters"])
    return in_query or "application/json" in described.get("requestBody", {}).get("content", {})


@pytest.mark.parametrize("route", ROUTES)
def test_the_server_responds_to_valid_requests_as_described(server: Server, route: str) -> None:
    check_responses(server, route, "positive")


@EMBEDDED
@pytest.mark.parametrize("route", [route for route in ROUTES if can_be_invalid(route)])
def test_the_server_responds_to_invalid_requests_as_described(server: Server, route: str) -> None:
    check_responses(server, route, "negative")


def check_responses(server: Server, route: str, mode: str) -> None:
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    conformance = [checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance]
    path, method = place_of(route)
    requests = schema()[path][method].as_strategy(generation_mode=GenerationMode(mode))
    examples = EXAMPLES_ON_EMULATORS if server.environment.get("EXECUTOR_JOBS") == "google" else EXAMPLES

    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=requests)
    def check(case: Any) -> None:
        if "wait" in (case.query or {}) and mode == "positive":
            case.query["wait"] = 0.01
        case.call_and_validate(base_url=f"http://127.0.0.1:{server.port}", checks=[not_a_server_error, *conformance])

    check()
