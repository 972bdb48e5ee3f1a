"""Components that a test needs and a machine may lack: their absence skips the test, or fails it where required."""

import os
from typing import NoReturn

import pytest


def lacking(component: str, reason: str) -> NoReturn:
    """Skip the test because a component is missing; fail it if EXECUTOR_REQUIRE, a comma-separated list, names it."""
    required = {name.strip() for name in os.environ.get("EXECUTOR_REQUIRE", "").split(",")}
    if component in required:
        pytest.fail(f"{reason} EXECUTOR_REQUIRE requires {component}.")
    pytest.skip(reason)
