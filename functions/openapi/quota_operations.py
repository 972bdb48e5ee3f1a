"""The routes of users' limits."""

from __future__ import annotations

from cloud_executor.model.access.quota import Quota
from functions.openapi.parts import INTEGER, STRING, Part, json_content, nullable, operation, response

_COUNT: Part = {**INTEGER, "minimum": 0}
_LIMITS: Part = {"type": "object", "properties": {str(quota): nullable(_COUNT) for quota in Quota}}
_CHANGES: Part = {
    "type": "object",
    "properties": {str(quota): {"anyOf": [_COUNT, {"type": "null"}, {"enum": ["default"]}]} for quota in Quota},
}
_EXAMPLE = {
    "user": "ada",
    "limits": {**dict.fromkeys(map(str, Quota)), "bytesPerDay": 107374182400, "jobsWaiting": 1000},
    "used": {"bytesPerDay": 5000000, "bytesStored": 90000000, "jobsStored": 17, "jobsWaiting": 2, "jobsRunning": 1},
    "changed": ["jobsWaiting"],
}
_QUOTAS = {
    200: response(
        "The user's limits (null: none), the usage, and the limits that an administrator has set.",
        json_content(
            {
                "type": "object",
                "properties": {
                    "user": STRING,
                    "limits": _LIMITS,
                    "used": {"type": "object", "additionalProperties": _COUNT},
                    "changed": {"type": "array", "items": STRING},
                },
                "required": ["user", "limits", "used", "changed"],
            },
            _EXAMPLE,
        ),
    )
}

QUOTA_OPERATIONS: dict[str, Part] = {
    "GET /rest/quotas/<user>": operation(
        "getQuotas",
        "Get the limits and the usage of a user.",
        _QUOTAS,
        description="For the user, and for administrators.",
    ),
    "POST /rest/quotas/<user>": operation(
        "changeQuotas",
        "Change limits of a user.",
        _QUOTAS,
        errors=(413, 507),
        body=json_content(_CHANGES, {"jobsWaiting": 1000, "jobsStored": None, "bytesStored": "default"}),
        description="For administrators. `null` means no limit, and `default` the operator's default.",
    ),
}
