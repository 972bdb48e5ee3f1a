"""Translate errors of the operating system into those of the ports."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from cloud_executor.errors import StorageFull, Unavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def os_errors() -> Iterator[None]:
    """Translate an OSError raised inside the block into StorageFull or Unavailable.

    Wrap only our own calls, so that a caller's OSError passes unchanged.
    """
    try:
        yield
    except OSError as error:
        raise os_error(error) from error


def os_error(error: OSError) -> Unavailable:
    """The port's error for an error of the operating system."""
    return StorageFull() if error.errno in _FULL else Unavailable()
