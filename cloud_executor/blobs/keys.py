"""Object keys of blobs (docs/architecture.md: Data at rest)."""

from __future__ import annotations

from cloud_executor.model.blobs.metadata import is_hash

CONTENT_PREFIX = "wg-content/"
METADATA_PREFIX = "wg-metadata/"
TEMPORARY_PREFIX = "wg-temp/"
ZIP_PREFIX = "wg-zip/"
RETENTION_PREFIX = "wg-gc/"


def content_key(content_hash: str) -> str:
    return f"{CONTENT_PREFIX}{_path(content_hash)}"


def metadata_key(metadata_hash: str) -> str:
    return f"{METADATA_PREFIX}{_path(metadata_hash)}"


def zip_key(artifact_hash: str) -> str:
    return f"{ZIP_PREFIX}{_path(artifact_hash)}.zip"


def manifest_key(artifact_hash: str) -> str:
    return f"{ZIP_PREFIX}{_path(artifact_hash)}.manifest"


def temporary_key(name: str) -> str:
    return f"{TEMPORARY_PREFIX}{name}"


def hash_in(key: str, prefix: str) -> str | None:
    """The hash in the key of a content or metadata document; None for the key of another file."""
    found = key.removeprefix(prefix).replace("/", "")
    return found if is_hash(found) and key == f"{prefix}{_path(found)}" else None


def _path(sha1: str) -> str:
    return f"{sha1[:2]}/{sha1[2:]}"
