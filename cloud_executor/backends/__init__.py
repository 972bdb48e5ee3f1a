"""Implementations of the ports, one technology a file. Only `cloud_executor.composition` imports them."""
