"""Parts of which the description of a route is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Part = dict[str, Any]
"""A part of an OpenAPI document."""

STRING: Part = {"type": "string"}
INTEGER: Part = {"type": "integer"}
STRINGS: Part = {"type": "array", "items": STRING}
HASH: Part = {"type": "string", "pattern": "^[0-9a-f]{40}$"}

ERRORS = {
    400: "The request is malformed. The sentence says where.",
    401: "The credential is missing, unknown, or expired.",
    403: "The role does not allow the request, or the nonce, the job's secret, or the origin is missing or wrong.",
    404: "The blob, file in the artifact, upload, job, or token does not exist.",
    409: "The stored state does not allow the request.",
    413: "The body, or the zip of the artifact, is too large.",
    415: "The body is a JSON object without its type.",
    416: "The range starts beyond the end of the file.",
    429: "A limit of the user or a storage quota is reached, or too many credentials were wrong; retry after the "
    "`Retry-After` seconds.",
    503: "The storage is unreachable; retry after the `Retry-After` seconds.",
    507: "The storage is full. Nothing was stored.",
}
"""Meaning of each status of an error."""

ALWAYS = (400, 401, 403, 429, 503)
"""Errors that every route can have."""


def ref(name: str) -> Part:
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: Part) -> Part:
    return {"anyOf": [schema, {"type": "null"}]}


def documents(schema: Part) -> Part:
    """An object of documents by hash or id."""
    return {"type": "object", "additionalProperties": schema}


def query(name: str, description: str, schema: Part = STRING, example: object = None) -> Part:
    """A parameter of the query."""
    parameter = {"name": name, "in": "query", "description": description, "schema": schema}
    return parameter if example is None else {**parameter, "example": example}


def json_content(schema: Part, example: object = None) -> Part:
    return {"application/json": {"schema": schema} if example is None else {"schema": schema, "example": example}}


def text_content(example: str | None = None) -> Part:
    return {"text/plain": {"schema": STRING} if example is None else {"schema": STRING, "example": example}}


def response(description: str, content: Part | None = None, headers: Mapping[str, str] | None = None) -> Part:
    """A response; `headers` maps names to descriptions."""
    found: Part = {"description": description}
    if headers:
        found["headers"] = {name: {"description": text, "schema": STRING} for name, text in headers.items()}
    if content is not None:
        found["content"] = content
    return found


def operation(
    operation_id: str,
    summary: str,
    responses: Mapping[int, Part],
    *,
    errors: Sequence[int] = (),
    parameters: Sequence[Part] = (),
    body: Part | None = None,
    description: str | None = None,
) -> Part:
    """What a route does. Parameters in the path are added by `document`."""
    found: Part = {"operationId": operation_id, "summary": summary}
    if description is not None:
        found["description"] = description
    found["parameters"] = list(parameters)
    if body is not None:
        found["requestBody"] = {"content": body}
    statuses = sorted({*ALWAYS, *errors} - responses.keys())
    found["responses"] = {
        **{str(status): described for status, described in responses.items()},
        **{str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses},
    }
    return found
