"""What a test needs and a machine may lack: a skip with a sentence here, a failure where it must be there."""

import os
from typing import NoReturn

import pytest


def lacking(component: str, reason: str) -> NoReturn:
    """The component is not to be had: skip, or fail if EXECUTOR_REQUIRE (separated by commas) names it."""
    required = {name.strip() for name in os.environ.get("EXECUTOR_REQUIRE", "").split(",")}
    if component in required:
        pytest.fail(f"{reason} EXECUTOR_REQUIRE demands it.")
    pytest.skip(reason)
