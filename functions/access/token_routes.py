"""The API of access tokens, for administrators (docs/api.md: Tokens)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import msgspec
from flask import Request, Response

from cloud_executor.access.tokens import Tokens
from cloud_executor.errors import Invalid, NotFound
from cloud_executor.model.access.caller import Caller, Role
from cloud_executor.model.documents.json_fields import JsonFields, nonempty_string, whole_number
from functions.access.access import Access, Area
from functions.transport import responses
from functions.transport.request_body import json_fields
from functions.transport.route_list import no_such_route
from functions.transport.target import Target, decoded

LONGEST_LIFETIME_SECONDS = 10 * 366 * 86400
"""Longest time for which a token that expires is valid, in seconds."""


class NoTokens(NotFound):
    """This server has no tokens; start it with EXECUTOR_AUTH=token."""


@dataclass(frozen=True, slots=True)
class TokenRoutes:
    """Handles requests to the API of access tokens."""

    access: Access

    def respond(self, request: Request, target: Target) -> Response | None:
        """None if the path is not below `/rest/tokens`."""
        rest = target.below("rest", "tokens")
        if rest is None:
            return None
        tokens = self.access.tokens
        if tokens is None:
            raise NoTokens
        caller = self.access.admit(request.environ, Area.TOKENS, Role.ADMIN)
        match request.method, rest:
            case "GET" | "HEAD", ():
                return _json({"tokens": [record.document() for record in tokens.all()]})
            case "POST", ():
                return _create(tokens, json_fields(request), caller)
            case "DELETE", (token_id,):
                tokens.revoke(decoded(token_id), caller)
                return responses.text("OK")
        raise no_such_route(request.environ, target)


def _create(tokens: Tokens, fields: Mapping[str, object], caller: Caller) -> Response:
    given = JsonFields(fields)
    name = given.required("name", nonempty_string)
    seconds = given.optional("expiresIn", partial(whole_number, least=1))
    if seconds is not None and seconds > LONGEST_LIFETIME_SECONDS:
        raise Invalid(f"expiresIn must be at most {LONGEST_LIFETIME_SECONDS} seconds.")
    token, record = tokens.create(
        name,
        given.optional("user", nonempty_string) or name,
        given.optional("role", _role) or Role.USER,
        None if seconds is None else timedelta(seconds=seconds),
        caller,
    )
    response = _json({"token": token, **record.document()})
    response.headers["Cache-Control"] = "no-store"
    return response


def _role(path: str, value: object) -> Role:
    if value not in tuple(Role):
        raise Invalid(f"{path} must be user, worker, or admin.")
    return Role(str(value))


def _json(document: Mapping[str, object]) -> Response:
    return responses.response(msgspec.json.encode(document), responses.BLOB_JSON)
