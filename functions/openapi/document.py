"""The whole document, for the routes in `route_list`."""

from __future__ import annotations

import json
import re
from functools import cache

from cloud_executor.version import VERSION
from functions.openapi.blob_operations import BLOB_OPERATIONS
from functions.openapi.executor_operations import EXECUTOR_OPERATIONS
from functions.openapi.parts import ERRORS, STRING, Part, operation, response, text_content
from functions.openapi.quota_operations import QUOTA_OPERATIONS
from functions.openapi.schemas import SCHEMAS
from functions.openapi.token_operations import TOKEN_OPERATIONS
from functions.transport.route_list import DESCRIPTION_PATH, LIST_PATH, ROUTES

_OPERATIONS: dict[str, Part] = {
    **BLOB_OPERATIONS,
    **EXECUTOR_OPERATIONS,
    **TOKEN_OPERATIONS,
    **QUOTA_OPERATIONS,
    f"GET {LIST_PATH}": operation(
        "listRoutes",
        "List all routes, and the version of the server.",
        {200: response("Lines of text.", text_content())},
    ),
    f"GET {DESCRIPTION_PATH}": operation(
        "describeRoutes",
        "Describe all routes, for machines.",
        {200: response("This document.", {"application/json": {"schema": {"type": "object"}}})},
    ),
}

_IN_PATH = {
    "name": "Name of the file, as one percent-encoded segment.",
    "hash": "Hash of the blob.",
    "user": "Name of the user, as one percent-encoded segment.",
    "path": "Path of the file in the artifact.",
    "id": "Id of the job, as one percent-encoded segment, or of the upload or token.",
}


def openapi() -> Part:
    """The document. Raises KeyError for a route without a description."""
    paths: dict[str, Part] = {}
    for route in ROUTES:
        method, path = route.split(" ")
        described = _OPERATIONS[route]
        names = re.findall("<([a-z]+)>", path)
        in_path = [
            {"name": name, "in": "path", "required": True, "description": _IN_PATH[name], "schema": STRING}
            for name in names
        ]
        found = {**described, "parameters": [*in_path, *described["parameters"]]}
        paths.setdefault(path.replace("<", "{").replace(">", "}"), {})[method.lower()] = found
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Cloud Executor",
            "version": VERSION,
            "description": "Run command-line jobs: WebGME's blob and executor APIs, and additions to them.",
        },
        "security": [{}, {"nonce": []}, {"bearer": []}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "responses": {str(status): response(meaning, text_content()) for status, meaning in ERRORS.items()},
            "securitySchemes": {
                "nonce": {"type": "apiKey", "in": "header", "name": "X-Executor-Nonce"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "token": {"type": "apiKey", "in": "header", "name": "X-Api-Token"},
            },
        },
    }


def undescribed() -> set[str]:
    """Routes without a description, and descriptions without a route."""
    return set(ROUTES) ^ _OPERATIONS.keys()


@cache
def openapi_json() -> bytes:
    return json.dumps(openapi()).encode()
