"""The socket that the server listens on. The supervisor owns it, so it stays open while the server restarts."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass

from cloud_executor.errors import Invalid, os_reason

BACKLOG = 1024


class InvalidListener(Invalid):
    """The address cannot be used for listening."""


@dataclass(frozen=True, slots=True)
class Listener:
    """An open listening socket."""

    socket: socket.socket
    url: str
    """Address for clients on this machine."""
    is_private: bool
    """Whether only this machine can reach the socket."""


def open_listener(host: str, port: int) -> Listener:
    """Listen on the first address of the host. Raises InvalidListener."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        raise InvalidListener(f"The host {host} is unknown: --host must be an address of this machine.") from None
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        reason = os_reason(error)
        is_port = error.errno in (errno.EADDRINUSE, errno.EACCES)
        what_to_do = "Use another port with --port, or 0 for any free one" if is_port else "Use another --host"
        raise InvalidListener(f"Cannot listen on port {port} of {host}: {reason}. {what_to_do}.") from error
    bound = ipaddress.ip_address(opened.getsockname()[0].partition("%")[0])
    if bound.is_unspecified:
        host = "127.0.0.1" if bound.version == 4 else "::1"
    name = f"[{host}]" if ":" in host else host
    return Listener(opened, f"http://{name}:{opened.getsockname()[1]}", bound.is_loopback)
