"""Which addresses other machines can reach."""

from __future__ import annotations

import socket
from ipaddress import ip_address


def is_reachable(host: str) -> bool:
    """Whether other machines can reach a server that listens on this address, or on the addresses of this name."""
    try:
        found = {str(address[0]).partition("%")[0] for *_, address in socket.getaddrinfo(host, None)}
    except OSError:
        return True
    return not all(ip_address(address).is_loopback for address in found)
