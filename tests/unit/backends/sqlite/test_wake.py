"""Wake-up calls between processes (cloud_executor/backends/sqlite/wake.py)."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cloud_executor.backends.sqlite.wake import Listener, WakeFolder

LONG_SECONDS = 60.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "wake"


@pytest.fixture
def wake(folder: Path) -> WakeFolder:
    return WakeFolder(folder)


@pytest.fixture
def listener(wake: WakeFolder) -> Iterator[Listener]:
    listener = wake.listen("channel")
    yield listener
    listener.close()


def called(listener: Listener, seconds: float = 0) -> bool:
    """Whether `wait` returns early. A call remains until it is cleared."""
    started = time.monotonic()
    listener.wait(seconds or 0.02)
    return time.monotonic() - started < (seconds or 0.02)


def test_a_call_before_the_wait_is_received(wake: WakeFolder, listener: Listener) -> None:
    wake.call("channel")
    assert called(listener, LONG_SECONDS)


def test_a_call_during_the_wait_is_received(wake: WakeFolder, listener: Listener) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(called, listener, LONG_SECONDS)
        wake.call("channel")
        assert waiting.result()


def test_a_cleared_call_is_discarded(wake: WakeFolder, listener: Listener) -> None:
    wake.call("channel")
    wake.call("channel")
    listener.clear()
    assert not called(listener)
    wake.call("channel")
    assert called(listener, LONG_SECONDS)


def test_a_call_reaches_all_listeners_on_its_channel_and_no_others(
    wake: WakeFolder, folder: Path, listener: Listener
) -> None:
    second, other = WakeFolder(folder).listen("channel"), wake.listen("chan")
    wake.call("channel")
    assert called(listener, LONG_SECONDS)
    assert called(second, LONG_SECONDS)
    assert not called(other)
    second.close()
    other.close()


def test_a_call_without_listeners_succeeds(wake: WakeFolder, folder: Path) -> None:
    wake.call("channel")
    wake.listen("channel").close()
    wake.call("channel")
    assert list(folder.iterdir()) == []


def test_calls_that_are_never_cleared_do_not_block_the_caller(wake: WakeFolder, listener: Listener) -> None:
    for _ in range(70_000):
        listener.call()
    wake.call("channel")
    assert called(listener, LONG_SECONDS)
    listener.clear()
    assert not called(listener)


def test_the_next_call_removes_the_pipe_of_a_dead_listener(wake: WakeFolder, folder: Path) -> None:
    dead = wake.listen("channel")
    os.close(dead._pipe)
    assert len(list(folder.iterdir())) == 1
    wake.call("other channel")
    assert len(list(folder.iterdir())) == 1
    wake.call("channel")
    assert list(folder.iterdir()) == []


def test_a_new_process_removes_the_pipes_of_dead_listeners_on_all_channels(
    wake: WakeFolder, folder: Path, listener: Listener
) -> None:
    dead = wake.listen("channel that is never called again")
    os.close(dead._pipe)
    assert len(list(folder.iterdir())) == 2
    WakeFolder(folder).listen("third channel").close()
    assert list(folder.iterdir()) == [listener._path]
    assert not called(listener)


def test_a_listener_that_cannot_open_its_pipe_leaves_none(
    wake: WakeFolder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wake.listen("channel").close()
    really_open = os.open

    def open_all_but_pipes(path: Path, flags: int) -> int:
        if path.parent == folder:
            raise OSError(errno.EMFILE, "Too many open files")
        return really_open(path, flags)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", open_all_but_pipes)
        with pytest.raises(OSError, match="Too many"):
            wake.listen("channel")
    assert list(folder.iterdir()) == []


def test_a_call_never_removes_the_pipe_of_a_new_listener(wake: WakeFolder) -> None:
    """Callers that remove the pipes of dead listeners leave a pipe that is about to be opened."""
    done = threading.Event()

    def keep_calling() -> None:
        while not done.is_set():
            wake.call("channel")

    with ThreadPoolExecutor(3) as pool:
        calling = [pool.submit(keep_calling) for _ in range(3)]
        try:
            for _ in range(200):
                listener = wake.listen("channel")
                assert called(listener, LONG_SECONDS)
                listener.close()
        finally:
            done.set()
        for caller in calling:
            caller.result()


def test_the_folder_can_be_deep_and_the_channel_name_can_be_any_string(tmp_path: Path) -> None:
    wake = WakeFolder(tmp_path / ("deep" * 20) / ("deeper" * 20) / ("deepest" * 20))
    for channel in ("", "a/b", "../x", "\0", "\ud83d", "x" * 10_000):
        listener = wake.listen(channel)
        wake.call(channel)
        assert called(listener, LONG_SECONDS)
        listener.close()


def test_a_call_on_a_closed_listener_does_nothing(listener: Listener, wake: WakeFolder, tmp_path: Path) -> None:
    closed = wake.listen("channel")
    closed.close()
    # The next file to be opened gets the pipe's descriptor.
    with (tmp_path / "another file").open("wb") as file:
        closed.call()
        assert file.tell() == 0
    assert (tmp_path / "another file").read_bytes() == b""
