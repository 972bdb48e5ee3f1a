"""The list of what is in the zip of an artifact with many files, kept so that the next download need not look it up.

To make the zip of a thousand files, as many documents and contents are looked up, which takes longer than to send the
first of them. None of them ever changes or goes, so what was found once holds.
"""

from __future__ import annotations

import msgspec


class ManifestEntry(msgspec.Struct, frozen=True, array_like=True):
    """One file of the zip."""

    encoded_name: bytes
    """in UTF-8, lone surrogates included"""
    content_hash: str
    size: int
    """bytes"""
    crc32: int | None

    @property
    def name(self) -> str:
        return self.encoded_name.decode("utf-8", "surrogatepass")


class ZipManifest(msgspec.Struct, frozen=True, array_like=True):
    """What is in a zip."""

    zip_bytes: int
    entries: list[ManifestEntry]
    """in the order of the zip"""


def manifest_entry(name: str, content_hash: str, size: int, crc32: int | None) -> ManifestEntry:
    return ManifestEntry(name.encode("utf-8", "surrogatepass"), content_hash, size, crc32)


def encode_manifest(manifest: ZipManifest) -> bytes:
    """As it is stored, in MessagePack."""
    return msgspec.msgpack.encode(manifest)


def decode_manifest(stored: bytes) -> ZipManifest | None:
    """What `encode_manifest` was given; None if these bytes, stored by somebody else, are no manifest."""
    try:
        return msgspec.msgpack.decode(stored, type=ZipManifest)
    except msgspec.DecodeError:
        return None
