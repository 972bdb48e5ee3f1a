"""A TCP proxy in front of a service, which can break or stall connections and restore them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

HOST = "127.0.0.1"
READ_BYTES = 65536
TIMEOUT_SECONDS = 10.0

T = TypeVar("T")


class TcpProxy:
    """Forwards connections from a free port to `target` (host:port, or the path of a socket). Close it after use."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._cut = False
        self._delay_seconds = 0.0
        self._awaited: tuple[bytes, float, Callable[[], None]] | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._flowing = asyncio.Event()
        self._server = self._call(self._listen())
        self.address = f"{HOST}:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Break all connections, and every new one, until `restore`."""
        self._call(self._set(cut=True, flowing=True))

    def stall(self) -> None:
        """Keep and accept connections but hold back all bytes until `restore`, which then delivers them."""
        self._call(self._set(cut=False, flowing=False))

    def restore(self) -> None:
        self._call(self._set(cut=False, flowing=True))

    def delay(self, seconds: float) -> None:
        """Hold back each piece of a request for this long, from now on."""
        self._delay_seconds = seconds

    def when_sent(self, words: bytes, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` once, this many seconds after a request that contains `words` reaches the service."""
        self._awaited = words, seconds, action

    def forget(self) -> None:
        """Drop the action registered with `when_sent`."""
        self._awaited = None

    def close(self) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TIMEOUT_SECONDS)
        self._loop.close()

    def _call(self, action: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(action, self._loop).result(TIMEOUT_SECONDS)

    async def _listen(self) -> asyncio.Server:
        self._flowing.set()
        return await asyncio.start_server(self._connect, HOST, 0)

    async def _set(self, *, cut: bool, flowing: bool) -> None:
        self._cut = cut
        if cut:
            for connection in self._connections:
                connection.transport.abort()
        if flowing:
            self._flowing.set()
        else:
            self._flowing.clear()

    async def _end(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await self._open()
        except OSError:
            writer.transport.abort()
            return
        ends = (writer, far_writer)
        self._connections.update(ends)
        try:
            with suppress(asyncio.CancelledError):
                await asyncio.gather(
                    self._pump(reader, far_writer, self._notice, delayed=True),
                    self._pump(far_reader, writer, lambda _: None),
                )
        finally:
            self._connections.difference_update(ends)
            for end in ends:
                end.transport.abort()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._target.startswith("/"):
            return await asyncio.open_unix_connection(self._target)
        host, _, port = self._target.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    def _notice(self, data: bytes) -> None:
        if self._awaited is not None and self._awaited[0] in data:
            _, seconds, action = self._awaited
            self._awaited = None
            self._loop.call_later(seconds, action)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        notice: Callable[[bytes], None],
        *,
        delayed: bool = False,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(READ_BYTES):
                await self._flowing.wait()
                if delayed and self._delay_seconds:
                    await asyncio.sleep(self._delay_seconds)
                writer.write(data)
                await writer.drain()
                notice(data)
            if writer.can_write_eof():
                writer.write_eof()
