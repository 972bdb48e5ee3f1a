from __future__ import annotations

from collections.abc import Callable

import pytest

from cloud_executor.backends.google.storage import errors, objects, reader, upload
from cloud_executor.backends.google.storage.objects import GcsObjectStore


@pytest.fixture(autouse=True)
def short_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry calls immediately, for up to half a second."""
    retry = errors.RETRY.with_delay(initial=0.001, maximum=0.01).with_timeout(0.5)
    monkeypatch.setitem(errors.CALL, "retry", retry)
    for module in (objects, reader, upload):
        monkeypatch.setattr(module, "RETRY", retry)


@pytest.fixture
def open_store(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], GcsObjectStore]:
    """Open a store whose service is at a URL."""

    def open_store(url: str) -> GcsObjectStore:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        return GcsObjectStore("bucket", "test")

    return open_store
