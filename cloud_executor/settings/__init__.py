"""The settings of the server and the worker, which the operator sets in the environment."""

from cloud_executor.settings.checks import check_reachable
from cloud_executor.settings.environment import NONCES, SHORT_NONCE
from cloud_executor.settings.errors import PREFIX, InvalidSetting
from cloud_executor.settings.settings import (
    DEFAULT_LARGEST_ZIP,
    DEFAULT_POOL,
    Settings,
)
from cloud_executor.settings.values import GOOGLE, OPEN, TOKEN

__all__ = [
    "DEFAULT_LARGEST_ZIP",
    "DEFAULT_POOL",
    "GOOGLE",
    "NONCES",
    "OPEN",
    "PREFIX",
    "SHORT_NONCE",
    "TOKEN",
    "InvalidSetting",
    "Settings",
    "check_reachable",
]
