"""The role that a request to the executor API needs."""

from __future__ import annotations

from cloud_executor.model.caller import Role

_OF_WORKERS = (("POST", "worker"), ("POST", "update"), ("POST", "output"))
"""Method and first segment of the requests that only workers send."""

_OF_ALL = (("GET", "info"), ("HEAD", "info"))
"""Requests that workers send too."""


def needed_role(method: str, rest: tuple[str, ...]) -> Role | None:
    """The role for the method and the path below the API's; None: any."""
    kind = (method, rest[0] if rest else "")
    if kind in _OF_ALL:
        return None
    return Role.WORKER if kind in _OF_WORKERS else Role.USER
