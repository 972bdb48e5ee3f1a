"""What the operating system refuses, as the ports' own errors."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from cloud_executor.errors import StorageFull, Unavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def os_errors() -> Iterator[None]:
    """Turn an OSError into StorageFull or Unavailable. Wrap calls of ours only: a caller's own OSError is not ours."""
    try:
        yield
    except OSError as error:
        raise os_error(error) from error


def os_error(error: OSError) -> Unavailable:
    """The port's error for one of the operating system."""
    return StorageFull() if error.errno in _FULL else Unavailable()
