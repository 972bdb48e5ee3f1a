"""A file store with the extra features of cloud storage: direct transfers, notes, and CRC-32s, kept in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from io import FileIO
from pathlib import Path
from urllib.parse import urlencode
from uuid import uuid4

from msgspec.structs import replace

from cloud_executor.backends.files import FileObjectStore
from cloud_executor.ports import ObjectInfo


class DirectFileStore(FileObjectStore):
    """An ObjectStore that also implements DirectTransfers."""

    concurrency = 4

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.calls: Counter[str] = Counter()
        self.notes: dict[str, str] = {}
        self.crc32s: dict[str, int] = {}
        self.modified: dict[str, datetime] = {}
        """Modification times that a test sets, by key."""
        self.parts: list[str | bytes] = []
        """Parts of the last composed object."""
        self.origins: list[str | None] = []
        self._sessions: dict[str, tuple[str, str]] = {}

    def open(self, key: str, start: int = 0) -> FileIO:
        self.calls["open"] += 1
        return super().open(key, start)

    def stat(self, key: str) -> ObjectInfo:
        self.calls["stat"] += 1
        return self._known(super().stat(key))

    def use(self, key: str, known: ObjectInfo | None = None) -> ObjectInfo:
        self.calls["stat"] += known is None
        return self._known(super().use(key, known))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return map(self._known, super().list(prefix))

    def move(self, source: str, destination: str) -> bool:
        moved = super().move(source, destination)
        if moved:
            self.notes.pop(source, None)
        return moved

    def upload_url(self, key: str, size: int, note: str, origin: str | None) -> str:
        url = f"https://storage.example/session/{uuid4()}"
        self._sessions[url] = (key, note)
        self.origins.append(origin)
        return url

    def send(self, url: str, content: bytes) -> None:
        """Upload the way a client does with a URL from `upload_url`."""
        key, note = self._sessions[url]
        self.put(key, [content])
        self.notes[key] = note

    def download_url(self, key: str, *, content_type: str, disposition: str | None, lifetime: timedelta) -> str:
        query = {"type": content_type, "disposition": disposition or "", "seconds": int(lifetime.total_seconds())}
        return f"https://storage.example/{key}?{urlencode(query)}"

    def record_crc32(self, key: str, crc32: int) -> None:
        self.stat(key)
        self.calls["record_crc32"] += 1
        self.crc32s[key] = crc32

    def compose(self, key: str, parts: Sequence[str | bytes]) -> None:
        self.calls["compose"] += 1
        self.parts = list(parts)
        for part in parts:
            if isinstance(part, str):
                self.stat(part)
        self.put(key, self._bytes(parts))

    def delete(self, key: str) -> None:
        super().delete(key)
        for known in (self.notes, self.crc32s, self.modified):
            known.pop(key, None)

    def content(self, key: str) -> bytes:
        with super().open(key) as file:
            return file.read()

    def keys(self, prefix: str = "") -> set[str]:
        return {info.key for info in self.list(prefix)}

    def _bytes(self, parts: Sequence[str | bytes]) -> Iterator[bytes]:
        for part in parts:
            yield self.content(part) if isinstance(part, str) else part

    def _known(self, info: ObjectInfo) -> ObjectInfo:
        return replace(
            info,
            crc32=self.crc32s.get(info.key),
            note=self.notes.get(info.key),
            modified=self.modified.get(info.key, info.modified),
        )
