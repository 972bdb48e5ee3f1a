"""The API of users' limits (docs/api.md: Quotas)."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from flask import Request, Response

from cloud_executor.access.quotas import Quotas
from cloud_executor.errors import Invalid
from cloud_executor.model.access.caller import Role
from cloud_executor.ports import JobStore
from functions.access.access import Access, Area
from functions.transport import responses
from functions.transport.request_body import json_fields
from functions.transport.route_list import no_such_route
from functions.transport.target import Target, decoded

MAX_USER = 320
"""Maximum length of a user's name, in characters: that of an e-mail address."""


@dataclass(frozen=True, slots=True)
class QuotaRoutes:
    """Handles requests to the API of users' limits."""

    access: Access
    quotas: Quotas
    jobs: JobStore

    def respond(self, request: Request, target: Target) -> Response | None:
        """None if the path is not below `/rest/quotas`."""
        rest = target.below("rest", "quotas")
        if rest is None:
            return None
        caller = self.access.admit(request.environ, Area.TOKENS)
        match request.method, rest:
            case "GET" | "HEAD", (user,):
                name = _user(user)
                if name != caller.user:
                    caller.require(Role.ADMIN)
                return self._document(name)
            case "POST", (user,):
                caller.require(Role.ADMIN)
                name = _user(user)
                self.quotas.change(name, json_fields(request), caller)
                return self._document(name)
        raise no_such_route(request.environ, target)

    def _document(self, user: str) -> Response:
        return responses.response(msgspec.json.encode(self.quotas.document(user, self.jobs)), responses.BLOB_JSON)


def _user(segment: str) -> str:
    user = decoded(segment)
    if not user or "\0" in user or len(user) > MAX_USER:
        raise Invalid(f"The user must have 1 to {MAX_USER} characters.")
    return user
