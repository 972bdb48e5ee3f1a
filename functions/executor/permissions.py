"""What a caller of the executor API may do: the role that a request needs, and whose jobs it is about."""

from __future__ import annotations

from collections.abc import Mapping

from cloud_executor.errors import Forbidden, Invalid
from cloud_executor.model.access.caller import Caller, Role

EVERYONE = "*"
"""Value of the parameter `user` for the jobs of all users."""

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


def owner_of(caller: Caller, query: Mapping[str, str]) -> str:
    """The user whose jobs the request is about: the caller, or whom an administrator names. Raises Forbidden."""
    user = query.get("user") or caller.user
    if user != caller.user and not caller.may(Role.ADMIN):
        raise Forbidden("Only an administrator may name another user in the parameter user.")
    if user == EVERYONE or "\0" in user:
        raise Invalid("user must be the name of one user for this request.")
    return user


def listed_owner(caller: Caller, query: Mapping[str, str]) -> str | None:
    """As `owner_of`, for a list; None: of all users, whom an administrator names as `*`."""
    if query.get("user") == EVERYONE and caller.may(Role.ADMIN):
        return None
    return owner_of(caller, query)
