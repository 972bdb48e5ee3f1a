"""The socket that the server listens on. The supervisor owns it: it stays while the server is started again."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

from cloud_executor.errors import Invalid, os_reason

BACKLOG = 1024


class InvalidListener(Invalid):
    """It is not possible to listen at this address."""


@dataclass(frozen=True, slots=True)
class Listener:
    """An open one."""

    socket: socket.socket
    url: str
    """where it is reached from this machine"""
    is_private: bool
    """whether it is reached from this machine alone"""


def open_listener(host: str, port: int) -> Listener:
    """Listen at the first address of the host. Raises InvalidListener."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        raise InvalidListener(f"The host {host} is not known: --host must be an address of this machine.") from None
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        reason = os_reason(error)
        raise InvalidListener(f"It is not possible to listen on port {port} of {host}: {reason}.") from error
    bound = ipaddress.ip_address(opened.getsockname()[0].partition("%")[0])
    if bound.is_unspecified:
        host = "127.0.0.1" if bound.version == 4 else "::1"
    name = f"[{host}]" if ":" in host else host
    return Listener(opened, f"http://{name}:{opened.getsockname()[1]}", bound.is_loopback)
