"""The system may write only a part of what it is given: the rest follows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cloud_executor.backends.file_writing import BATCH
from cloud_executor.backends.files import GROUP_OBJECTS, FileObjectStore

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileObjectStore:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, bytes(data[: max(1, len(data) // 2)])))
    return FileObjectStore(tmp_path)


@pytest.mark.parametrize("size", [1, len(CONTENT), 3 * BATCH])
def test_an_object_is_whole(store: FileObjectStore, size: int) -> None:
    content = (CONTENT * (size // len(CONTENT) + 1))[:size]
    store.put("wg-content/ab/1", [content])
    with store.open("wg-content/ab/1") as stored:
        assert stored.readall() == content


@pytest.mark.parametrize("count", [1, GROUP_OBJECTS])
def test_small_objects_are_whole(store: FileObjectStore, count: int) -> None:
    store.put_all({f"wg-content/ab/{number}": CONTENT for number in range(count)})
    assert {store.read(f"wg-content/ab/{number}")[0] for number in range(count)} == {CONTENT}
