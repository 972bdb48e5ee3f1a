"""The contents of a zip's entries, unpacked with limited memory."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from cloud_executor.zip_reader.directory import ZipEntry
from cloud_executor.zip_reader.errors import DecoderMissing, EntryDamaged, Unsupported

READ_BYTES = 256 * 1024
"""Size of one read, and largest size of most chunks, in bytes."""

DEFLATE64_READ_BYTES = 1024
"""Size of the packed chunks for Deflate64, in bytes: its decoder cannot limit a chunk, which can grow 28,000 times."""

MAX_DICTIONARY_BYTES = 64 * 1024**2
"""Largest LZMA dictionary, which is held in memory, in bytes."""

STORED, DEFLATE, DEFLATE64, BZIP2, LZMA = 0, 8, 9, 12, 14

_ENCRYPTED = 0x0001
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_LZMA_HEADER = struct.Struct("<2xHBL")


def entry_content(source: BinaryIO, entry: ZipEntry, shown_name: str) -> Iterator[bytes]:
    """The unpacked chunks, never more bytes than the entry's size. Raises EntryDamaged, Unsupported."""
    if entry.flags & _ENCRYPTED:
        raise Unsupported(f"The file {shown_name} in the source is encrypted.")
    unpacked = _UNPACKERS.get(entry.method)
    if unpacked is None:
        raise Unsupported(f"The file {shown_name} in the source uses an unsupported compression method; use deflate.")
    try:
        yield from _checked(unpacked(_Packed(source, entry), entry.size), entry)
    except _DictionaryTooLarge:
        limit = MAX_DICTIONARY_BYTES // 2**20
        message = f"The file {shown_name} in the source has an LZMA dictionary above {limit} MiB; use deflate."
        raise Unsupported(message) from None
    # inflate64 raises ValueError, bz2 OSError, and the others errors of their own.
    except (_Damage, zlib.error, lzma.LZMAError, struct.error, ValueError, EOFError, OSError, OverflowError) as error:
        raise EntryDamaged(f"The file {shown_name} in the source is damaged.") from error


class _Damage(Exception):
    """The content is not what the entry states."""


class _DictionaryTooLarge(Exception):
    """The content needs too much memory."""


class _Packed:
    """The packed bytes of an entry. Other parts of the source may be read in between."""

    def __init__(self, source: BinaryIO, entry: ZipEntry) -> None:
        source.seek(entry.offset)
        fields = _LOCAL_HEADER.unpack(source.read(_LOCAL_HEADER.size))
        if fields[0] != b"PK\3\4" or source.read(fields[9]) != entry.stored_name:
            raise _Damage
        self._source = source
        self._position = entry.offset + _LOCAL_HEADER.size + fields[9] + fields[10]
        self._left = entry.packed_size

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end."""
        if not self._left:
            return b""
        self._source.seek(self._position)
        found = self._source.read(min(size, self._left))
        if not found:
            raise _Damage
        self._position += len(found)
        self._left -= len(found)
        return found

    def chunks(self, size: int = READ_BYTES) -> Iterator[bytes]:
        return iter(lambda: self.read(size), b"")


class _Decompressor(Protocol):
    """The interface of bz2 and lzma."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, /, max_length: int = -1) -> bytes: ...


def _checked(chunks: Iterator[bytes], entry: ZipEntry) -> Iterator[bytes]:
    size = crc32 = 0
    for chunk in chunks:
        size += len(chunk)
        if size > entry.size:
            raise _Damage
        crc32 = zlib.crc32(chunk, crc32)
        yield chunk
    if size != entry.size or crc32 != entry.crc32:
        raise _Damage


def _stored(packed: _Packed, size: int) -> Iterator[bytes]:
    return packed.chunks()


def _inflated(packed: _Packed, size: int) -> Iterator[bytes]:
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    for chunk in packed.chunks():
        rest = chunk
        while not decompressor.eof:
            yield decompressor.decompress(rest, READ_BYTES)
            rest = decompressor.unconsumed_tail
            if not rest:
                break
    # Output can wait in the decompressor after the last input.
    while not decompressor.eof and (waiting := decompressor.decompress(b"", READ_BYTES)):
        yield waiting


def _inflated_64(packed: _Packed, size: int) -> Iterator[bytes]:
    try:
        from inflate64 import Inflater  # the client can do without it
    except ImportError:
        raise DecoderMissing from None
    inflater = Inflater()
    for chunk in packed.chunks(DEFLATE64_READ_BYTES):
        if inflater.eof:
            return
        yield inflater.inflate(chunk)


def _bunzipped(packed: _Packed, size: int) -> Iterator[bytes]:
    return _decompressed(bz2.BZ2Decompressor(), packed)


def _unpacked_lzma(packed: _Packed, size: int) -> Iterator[bytes]:
    properties_size, properties, dictionary = _LZMA_HEADER.unpack(packed.read(_LZMA_HEADER.size))
    if properties_size != 5 or properties >= 9 * 5 * 5:
        raise _Damage
    # No match reaches beyond the start of the content.
    dictionary = max(4096, min(dictionary, size))
    if dictionary > MAX_DICTIONARY_BYTES:
        raise _DictionaryTooLarge
    filters = {
        "id": lzma.FILTER_LZMA1,
        "dict_size": dictionary,
        "lc": properties % 9,
        "lp": properties // 9 % 5,
        "pb": properties // 45,
    }
    left = size
    # The end need not be marked.
    for chunk in _decompressed(lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[filters]), packed):
        left -= len(chunk)
        yield chunk
        if left <= 0:
            return


def _decompressed(decompressor: _Decompressor, packed: _Packed) -> Iterator[bytes]:
    while not decompressor.eof:
        chunk = packed.read(READ_BYTES) if decompressor.needs_input else b""
        found = decompressor.decompress(chunk, READ_BYTES)
        if not chunk and not found and decompressor.needs_input:
            return
        yield found


_UNPACKERS: dict[int, Callable[[_Packed, int], Iterator[bytes]]] = {
    STORED: _stored,
    DEFLATE: _inflated,
    DEFLATE64: _inflated_64,
    BZIP2: _bunzipped,
    LZMA: _unpacked_lzma,
}
