"""The metadata of a blob and its identity.

A blob is named by the SHA-1 of its metadata's canonical JSON, so that text is the contract, to the last escape
(docs/protocol.md: Blob metadata, Identity). It is made once, here, and kept as it is; the other fields are views of it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple, Self, TypeGuard, TypeVar

import msgspec

from cloud_executor.errors import Invalid, NotFound
from cloud_executor.model import javascript
from cloud_executor.model.javascript import is_truthy, quote
from cloud_executor.model.mime import mime_type

_Value = TypeVar("_Value")

_HASH = re.compile("[0-9a-f]{40}")
_CONTENT_LAST = re.compile(rb',"content":"([0-9a-f]{40})","contentType":"(object|softLink)"}\Z')
_NAME_FIRST = re.compile(rb'{"name":("(?:[^"\\]|\\.)*"),')
_SHOWN_PATH = 100
"""so many characters of a path are shown in an error"""


class ContentType(StrEnum):
    """What the content of a blob, or of a file in an artifact, is."""

    OBJECT = "object"
    """bytes"""
    SOFT_LINK = "softLink"
    """another blob"""
    COMPLEX = "complex"
    """an artifact: files by path"""


class ContentEntry(NamedTuple):
    """A file of an artifact."""

    content_hash: str
    """of bytes (OBJECT) or of a blob (SOFT_LINK)"""
    content_type: ContentType
    """COMPLEX: an entry that cannot be read, which only stores of WebGME have"""


class ArtifactFile(NamedTuple):
    """A file to put into an artifact."""

    content_hash: str
    """of bytes (OBJECT) or of a blob (SOFT_LINK)"""
    size: int
    """in bytes"""
    content_type: ContentType


_CONTENT_TYPES: dict[object, ContentType] = {content_type.value: content_type for content_type in ContentType}
_NO_FILES: Mapping[str, ContentEntry] = MappingProxyType({})
# An object of JavaScript cannot have this key: setting it sets the object's prototype.
_PROTOTYPE = "__proto__"


class BlobMetadata(msgspec.Struct, frozen=True):
    """What is known of a blob. Make it with one of the class methods."""

    canonical: bytes
    """the text that is stored"""
    name: str | None
    """may hold lone surrogates; None if there is none"""
    size: float
    """in bytes, as whoever made the metadata said; of an artifact the sum of its files"""
    mime: str
    is_public: bool
    tags: tuple[str, ...]
    content_type: ContentType | None
    """None: of a type that nobody can read; it is stored, as WebGME does"""
    content_hash: str
    """of the bytes (OBJECT) or of another blob (SOFT_LINK); empty for COMPLEX"""
    files: Mapping[str, ContentEntry]
    """of an artifact, by path, in canonical order; else empty"""

    @property
    def hash(self) -> str:
        """SHA-1 of `canonical`: the blob's name."""
        return hashlib.sha1(self.canonical, usedforsecurity=False).hexdigest()

    @classmethod
    def for_file(cls, name: str, size: int, content_hash: str) -> Self:
        """The metadata of an uploaded file."""
        mime = mime_type(name)
        canonical = (
            f'{{"name":{quote(name)},"size":{size},"mime":"{mime}","isPublic":false,"tags":[],'
            f'"content":"{content_hash}","contentType":"object"}}'
        ).encode()
        content_type = ContentType.OBJECT
        return cls(canonical, name, size, mime, False, (), content_type, content_hash, _NO_FILES)

    @classmethod
    def for_artifact(cls, name: str, files: Mapping[str, tuple[str, int, ContentType]]) -> Self:
        """The metadata of an artifact that is downloaded as `<name>.zip`; each file as an `ArtifactFile`.

        A file `__proto__` is left out, as WebGME's worker does.
        """
        return cls._build(
            name_field=f'"name":{quote(name + ".zip")},',
            name=name + ".zip",
            size=sum(size for path, (_, size, _) in files.items() if path != _PROTOTYPE),
            mime="application/zip",
            content_type=ContentType.COMPLEX,
            content_type_text=ContentType.COMPLEX,
            entries={path: ContentEntry(content, kind) for path, (content, _, kind) in files.items()},
            entry_text=lambda path: f'{{"content":"{files[path][0]}","contentType":"{files[path][2]}"}}',
        )

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """The metadata that a client sent. Raises Invalid.

        What WebGME would store but could not use is refused; all else gets its hash.
        """
        document = javascript.parse_json(body)
        if not isinstance(document, dict):
            raise Invalid("The metadata must be a JSON object.")
        name = document.get("name")
        if not isinstance(name, str | None):
            raise Invalid("name must be a text.")
        content_type_text = _or_default(document, "contentType", str, "object")
        content_type = _CONTENT_TYPES.get(content_type_text)
        content = document.get("content")
        content_hash, files = "", {}
        if content_type is ContentType.COMPLEX:
            if not isinstance(content, dict):
                raise Invalid("The content of a complex blob must be an object.")
            files = content
        elif is_hash(content):
            content_hash = content
        else:
            raise Invalid("content must be a hash: 40 hexadecimal digits in lower case.")
        return cls._build(
            name_field=f'"name":{"null" if name is None else quote(name)},' if "name" in document else "",
            name=name,
            size=_parse_size(document),
            mime=_or_default(document, "mime", str, ""),
            is_public=_or_default(document, "isPublic", bool, False),
            tags=_parse_tags(document),
            content_type=content_type,
            content_type_text=content_type_text,
            content_hash=content_hash,
            entries={path: _parse_entry(path, entry) for path, entry in files.items()},
            entry_text=lambda path: _entry_text(files[path]),
        )

    @classmethod
    def from_canonical(cls, stored: bytes) -> Self:
        """The metadata that a store holds. Raises NotFound if it leads to no content.

        WebGME stores nonsense of many kinds; what does not concern the content is then read as its default.
        """
        try:
            document = javascript.parse_json(stored)
        except Invalid:
            document = None
        if not isinstance(document, dict):
            raise NotFound
        content = document.get("content")
        content_type = _CONTENT_TYPES.get(_text(document.get("contentType")))
        content_hash, files = "", _NO_FILES
        if content_type is ContentType.COMPLEX and isinstance(content, dict):
            files = MappingProxyType({path: _read_entry(entry) for path, entry in content.items()})
        elif content_type in (ContentType.OBJECT, ContentType.SOFT_LINK) and is_hash(content):
            content_hash = content
        else:
            raise NotFound
        size, tags = document.get("size"), document.get("tags")
        return cls(
            canonical=stored,
            name=_text(document.get("name")),
            size=size if isinstance(size, int | float) and not isinstance(size, bool) else 0,
            mime=_text(document.get("mime")) or "",
            is_public=is_truthy(document.get("isPublic")),
            tags=tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
            content_type=content_type,
            content_hash=content_hash,
            files=files,
        )

    @classmethod
    def _build(
        cls,
        *,
        name_field: str,
        name: str | None,
        size: float,
        mime: str,
        content_type: ContentType | None,
        content_type_text: str,
        entries: Mapping[str, ContentEntry],
        entry_text: Callable[[str], str],
        is_public: bool = False,
        tags: tuple[str, ...] = (),
        content_hash: str = "",
    ) -> Self:
        """Write the canonical text, in which each entry has its own."""
        paths = [path for path in _canonical_order(entries) if path != _PROTOTYPE]
        if content_type is ContentType.COMPLEX:
            # Of 100,000 files this is large, and as one text a single letter beyond the first plane makes it four times
            # that.
            content = b"{%b}" % b",".join([f"{quote(path)}:{entry_text(path)}".encode() for path in paths])
        else:
            content = f'"{content_hash}"'.encode()
        head = (
            f'{{{name_field}"size":{javascript.number_text(size)},"mime":{quote(mime)},'
            f'"isPublic":{"true" if is_public else "false"},"tags":[{",".join(map(quote, tags))}],'
        )
        canonical = b'%b"content":%b,"contentType":%b}' % (head.encode(), content, quote(content_type_text).encode())
        return cls(
            canonical=canonical,
            name=name,
            size=size,
            mime=mime,
            is_public=is_public,
            tags=tags,
            content_type=content_type,
            content_hash=content_hash,
            files=MappingProxyType({path: entries[path] for path in paths}),
        )

    def answer(self, last_modified: datetime) -> bytes:
        """The JSON that the API shows: the metadata and when it was stored."""
        return metadata_answer(self.canonical, last_modified)


def metadata_answer(canonical: bytes, last_modified: datetime) -> bytes:
    """`BlobMetadata.answer` from what a store holds, whatever that is, without reading it."""
    return b'%b,"lastModified":"%b"}' % (canonical[:-1], javascript.iso_time(last_modified).encode())


def read_content_entry(stored: bytes) -> ContentEntry | None:
    """Where a stored document leads, at a tenth of the time that reading all of it takes; None: read it.

    An artifact of many files is as many documents, each of which ends with this if WebGME or we wrote it. No text in a
    document can look like it: there a quotation mark has a backslash before it.
    """
    found = _CONTENT_LAST.search(stored)
    return None if found is None else ContentEntry(found[1].decode(), _CONTENT_TYPES[found[2].decode()])


def read_name(stored: bytes) -> str | None:
    """The name in a stored document, without reading all of it; None: read it."""
    found = _NAME_FIRST.match(stored)
    return None if found is None else _text(javascript.parse_json(found[1]))


def is_hash(value: object) -> TypeGuard[str]:
    """Whether this is the text of a SHA-1 as the protocol writes it: 40 hexadecimal digits in lower case."""
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def parse_hash(text: str) -> str:
    """The hash that an address names. Raises NotFound: nothing can have a name that is no hash."""
    if not is_hash(text):
        raise NotFound
    return text


def _canonical_order(paths: Iterable[str]) -> list[str]:
    return javascript.key_order(sorted(paths, key=javascript.utf16_key))


def _or_default(document: dict[str, object], field: str, kind: type[_Value], default: _Value) -> _Value:
    value = document.get(field)
    if not is_truthy(value):
        return default
    if not isinstance(value, kind):
        raise Invalid(f"{field} must be a {'text' if kind is str else 'boolean'}.")
    return value


def _parse_size(document: dict[str, object]) -> float:
    size = document.get("size")
    if not is_truthy(size):
        return 0
    if isinstance(size, bool) or not isinstance(size, int | float) or not math.isfinite(size):
        raise Invalid("size must be a number of bytes.")
    return size


def _parse_tags(document: dict[str, object]) -> tuple[str, ...]:
    tags = document.get("tags")
    if not is_truthy(tags):
        return ()
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise Invalid("tags must be a list of texts.")
    return tuple(sorted(tags, key=javascript.utf16_key))


def _parse_entry(path: str, entry: object) -> ContentEntry:
    shown = quote(path[:_SHOWN_PATH])
    if not isinstance(entry, dict):
        raise Invalid(f"The file {shown} in content must be an object.")
    content_hash = entry.get("content")
    if not is_hash(content_hash):
        raise Invalid(f"The content of the file {shown} must be a hash: 40 hexadecimal digits in lower case.")
    content_type = _CONTENT_TYPES.get(_text(entry.get("contentType")))
    if content_type is None or content_type is ContentType.COMPLEX:
        raise Invalid(f"The contentType of the file {shown} must be object or softLink.")
    return ContentEntry(content_hash, content_type)


def _entry_text(entry: dict[str, object]) -> str:
    """A checked entry with all the keys it has, in their order: both belong to the identity."""
    if len(entry) == 2:
        # Its content and contentType: nothing in them needs an escape.
        return "{" + ",".join([f'"{key}":"{value}"' for key, value in entry.items()]) + "}"
    return javascript.stringify(entry)


def _read_entry(entry: object) -> ContentEntry:
    if isinstance(entry, dict):
        content_hash, content_type = entry.get("content"), _CONTENT_TYPES.get(_text(entry.get("contentType")))
        if is_hash(content_hash) and content_type is not None:
            return ContentEntry(content_hash, content_type)
    return ContentEntry("", ContentType.COMPLEX)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
