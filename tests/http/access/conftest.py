from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from credentials import Callers
from flask.testing import FlaskClient
from in_process import open_client
from memory_folders import memory_folder

from functions.access import throttle


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    with memory_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def callers(data: Path) -> Callers:
    return Callers.of(data)


@pytest.fixture(scope="module")
def client(data: Path) -> Iterator[FlaskClient]:
    """A server that needs tokens, and does not throttle the many failed attempts of the tests."""
    with pytest.MonkeyPatch.context() as patch, open_client(data, auth="token") as opened:
        patch.setattr(throttle, "BURST", 1_000_000)
        yield opened
