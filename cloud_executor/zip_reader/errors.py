"""Errors of a zip that cannot be read. Each message is a sentence about the source of a job."""

from __future__ import annotations

from cloud_executor.errors import CloudExecutorError


class ZipError(CloudExecutorError):
    """The source cannot be read."""


class NotAZip(ZipError):
    """The source is not a zip archive, or it is damaged."""


class SplitZip(ZipError):
    """The source is one part of a split zip: join the parts first, as with `zip -s 0 parts.zip --out all.zip`."""


class EntryDamaged(ZipError):
    """A file in the source is damaged."""


class Unsupported(ZipError):
    """A file in the source uses an unsupported feature."""


class DecoderMissing(Unsupported):
    """A file in the source is compressed with Deflate64, for which the package inflate64 is not installed."""
