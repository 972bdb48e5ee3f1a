"""Error messages (cloud_executor/errors.py)."""

from __future__ import annotations

import errno
import os

import pytest

from cloud_executor.errors import os_reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/secret/path"), "no space left on device"),
        (OSError("a message from a library"), "unknown error"),
    ],
)
def test_an_os_error_gives_its_reason_and_no_path(error: OSError, reason: str) -> None:
    assert os_reason(error) == reason
