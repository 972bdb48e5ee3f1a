"""Manifests: stored lists of the files in an artifact's zip, which save the next download from looking them up.

The zip of 1,000 files requires looking up 1,000 metadata documents and contents, which delays the first byte. Documents
and contents never change, and none is deleted as long as the artifact's document names it. A manifest is deleted before
that document, so it stays valid.
"""

from __future__ import annotations

import msgspec


class ManifestEntry(msgspec.Struct, frozen=True, array_like=True):
    """One file of the zip."""

    encoded_name: bytes
    """Name in UTF-8, lone surrogates included."""
    content_hash: str
    size: int
    """Size in bytes."""
    crc32: int | None

    @property
    def name(self) -> str:
        return self.encoded_name.decode("utf-8", "surrogatepass")


class ZipManifest(msgspec.Struct, frozen=True, array_like=True):
    """The files of a zip and its size."""

    zip_bytes: int
    entries: list[ManifestEntry]
    """Entries in the order of the zip."""


def manifest_entry(name: str, content_hash: str, size: int, crc32: int | None) -> ManifestEntry:
    return ManifestEntry(name.encode("utf-8", "surrogatepass"), content_hash, size, crc32)


def encode_manifest(manifest: ZipManifest) -> bytes:
    """The stored form of a manifest, in MessagePack."""
    return msgspec.msgpack.encode(manifest)


def decode_manifest(stored: bytes) -> ZipManifest | None:
    """The inverse of `encode_manifest`; None for other bytes, which another program may have stored."""
    try:
        return msgspec.msgpack.decode(stored, type=ZipManifest)
    except msgspec.DecodeError:
        return None
