"""The routes of access tokens."""

from __future__ import annotations

from cloud_executor.model.access.caller import Role
from cloud_executor.model.access.token import MAX_NAME
from functions.openapi.parts import INTEGER, STRING, Part, json_content, nullable, operation, response, text_content

_TIME: Part = {"type": "string", "format": "date-time"}
_ROLE: Part = {"enum": list(Role)}
_ID = "0f3a9c1b2d4e5f60"
_RECORD = {
    "id": _ID,
    "name": "laptop",
    "user": "ada",
    "role": "user",
    "created": "2026-01-31T12:00:00Z",
    "expires": None,
    "createdBy": "admin",
}
_FIELDS: Part = {
    "id": STRING,
    "name": STRING,
    "user": STRING,
    "role": _ROLE,
    "created": _TIME,
    "expires": nullable(_TIME),
    "createdBy": STRING,
}
_DESCRIPTION = "For administrators, with `EXECUTOR_AUTH=token`; otherwise 404."

TOKEN_OPERATIONS: dict[str, Part] = {
    "POST /rest/tokens": operation(
        "createToken",
        "Create an access token.",
        {
            200: response(
                "The token, which no other response contains.",
                json_content(
                    {"type": "object", "properties": {"token": STRING, **_FIELDS}, "required": ["token", *_FIELDS]},
                    {"token": "cex_…", **_RECORD},
                ),
            )
        },
        errors=(404, 413, 507),
        body=json_content(
            {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "minLength": 1, "maxLength": MAX_NAME},
                    "user": nullable(STRING),
                    "role": nullable(_ROLE),
                    "expiresIn": nullable({**INTEGER, "minimum": 1}),
                },
                "required": ["name"],
            },
            {"name": "laptop", "user": "ada", "role": "user", "expiresIn": 7776000},
        ),
        description=_DESCRIPTION,
    ),
    "GET /rest/tokens": operation(
        "listTokens",
        "List all access tokens, without the tokens themselves.",
        {
            200: response(
                "The tokens, oldest first.",
                json_content(
                    {
                        "type": "object",
                        "properties": {
                            "tokens": {
                                "type": "array",
                                "items": {"type": "object", "properties": _FIELDS, "required": list(_FIELDS)},
                            }
                        },
                        "required": ["tokens"],
                    },
                    {"tokens": [_RECORD]},
                ),
            )
        },
        errors=(404,),
        description=_DESCRIPTION,
    ),
    "DELETE /rest/tokens/<id>": operation(
        "revokeToken",
        "Revoke an access token.",
        {200: response("Done.", text_content("OK"))},
        errors=(404,),
        description=_DESCRIPTION,
    ),
}
