"""The metadata of a blob and its identity.

The SHA-1 of the metadata's canonical JSON identifies a blob, so every byte of that JSON is part of the contract
(docs/protocol.md: Blob metadata, Identity). It is written once, here, and stored unchanged.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple, Self, TypeGuard

import msgspec

from cloud_executor.errors import Invalid, NotFound
from cloud_executor.model.blobs.mime import mime_type
from cloud_executor.model.documents import javascript
from cloud_executor.model.documents.javascript import quote
from cloud_executor.model.documents.json_fields import JsonFields, boolean, finite_number, json_object, string, strings

_HASH = re.compile("[0-9a-f]{40}")
_CONTENT_LAST = re.compile(rb',"content":"([0-9a-f]{40})","contentType":"(object|softLink)"}\Z')
_NAME_FIRST = re.compile(rb'{"name":("(?:[^"\\]|\\.)*"),')
_SHOWN_PATH = 100
"""Number of characters of a path that an error message shows."""


class ContentType(StrEnum):
    """Type of the content of a blob, or of a file in an artifact."""

    OBJECT = "object"
    """Bytes."""
    SOFT_LINK = "softLink"
    """Another blob."""
    COMPLEX = "complex"
    """An artifact: files by path."""


class ContentEntry(NamedTuple):
    """A file of an artifact."""

    content_hash: str
    """Hash of bytes (OBJECT) or of a blob (SOFT_LINK)."""
    content_type: ContentType
    """COMPLEX marks an unreadable entry, which only a blob stored by WebGME can have."""


class ArtifactFile(NamedTuple):
    """A file to add to an artifact."""

    content_hash: str
    """Hash of bytes (OBJECT) or of a blob (SOFT_LINK)."""
    size: int
    """Size in bytes."""
    content_type: ContentType


_CONTENT_TYPES: dict[object, ContentType] = {content_type.value: content_type for content_type in ContentType}
_NO_FILES: Mapping[str, ContentEntry] = MappingProxyType({})
# A JavaScript object cannot have this key: setting it sets the object's prototype.
_PROTOTYPE = "__proto__"


class BlobMetadata(msgspec.Struct, frozen=True):
    """The metadata of a blob. Create it with one of the class methods."""

    canonical: bytes
    """Canonical JSON, as it is stored."""
    name: str | None
    """File name, which may contain lone surrogates; None if the metadata has no name."""
    size: float
    """Size in bytes, as stated by the creator of the metadata; for an artifact, the sum of its files."""
    mime: str
    is_public: bool
    tags: tuple[str, ...]
    content_type: ContentType | None
    """None for an unknown type, which is stored, as in WebGME, but cannot be read."""
    content_hash: str
    """Hash of the bytes (OBJECT) or of another blob (SOFT_LINK); empty for COMPLEX."""
    files: Mapping[str, ContentEntry]
    """Files of an artifact by path, in canonical order; empty for other blobs."""

    @property
    def hash(self) -> str:
        """SHA-1 of `canonical`, which identifies the blob."""
        return hashlib.sha1(self.canonical, usedforsecurity=False).hexdigest()

    def contents(self) -> dict[str, str]:
        """The hashes of the bytes that this blob names, each with the path of a file that has them.

        The targets of soft links are blobs. Content of an unknown type counts as bytes.
        """
        found = {
            entry.content_hash: path
            for path, entry in self.files.items()
            if entry.content_type is not ContentType.SOFT_LINK
        }
        if self.content_type not in (ContentType.COMPLEX, ContentType.SOFT_LINK):
            found[self.content_hash] = self.name or ""
        return found

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
        """The metadata of an artifact that is downloaded as `<name>.zip`, from its files: path -> `ArtifactFile`.

        A file named `__proto__` is dropped, as in WebGME's worker.
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
        """The metadata that a client sent. Raises Invalid for metadata that WebGME stores but cannot use."""
        document = json_object("The metadata", javascript.parse_json(body))
        name = JsonFields(document).optional("name", string)
        fields = JsonFields(javascript.truthy_fields(document))
        content_type_text = fields.optional("contentType", string) or ContentType.OBJECT
        content_type = _CONTENT_TYPES.get(content_type_text)
        content_hash = ""
        files: dict[str, Any] = {}
        if content_type is ContentType.COMPLEX:
            files = fields.required("content", json_object)
        else:
            content_hash = fields.required("content", hash_string)
        return cls._build(
            name_field=f'"name":{"null" if name is None else quote(name)},' if "name" in document else "",
            name=name,
            size=fields.optional("size", finite_number) or 0,
            mime=fields.optional("mime", string) or "",
            is_public=fields.optional("isPublic", boolean) or False,
            tags=tuple(sorted(fields.optional("tags", strings) or (), key=javascript.utf16_key)),
            content_type=content_type,
            content_type_text=content_type_text,
            content_hash=content_hash,
            entries={path: _parse_entry(path, entry) for path, entry in files.items()},
            entry_text=lambda path: _entry_text(files[path]),
        )

    @classmethod
    def from_canonical(cls, stored: bytes) -> Self:
        """The metadata in a store. Raises NotFound if its content cannot be read.

        WebGME stores metadata unchecked; other invalid fields get their defaults.
        """
        try:
            document = javascript.parse_json(stored)
        except Invalid:
            document = None
        if not isinstance(document, dict):
            raise NotFound
        content = document.get("content")
        content_type = _CONTENT_TYPES.get(_string_or_none(document.get("contentType")))
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
            name=_string_or_none(document.get("name")),
            size=size if isinstance(size, int | float) and not isinstance(size, bool) else 0,
            mime=_string_or_none(document.get("mime")) or "",
            is_public=javascript.is_truthy(document.get("isPublic")),
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
        """Write the canonical JSON, in which `entry_text` gives the JSON of each file."""
        paths = [path for path in _canonical_order(entries) if path != _PROTOTYPE]
        if content_type is ContentType.COMPLEX:
            # Joined as bytes: in a string of 100,000 files, a single emoji would quadruple the memory used.
            content = b"{%b}" % b",".join([f"{quote(path)}:{entry_text(path)}".encode() for path in paths])
        else:
            content = f'"{content_hash}"'.encode()
        head = (
            f'{{{name_field}"size":{javascript.number_to_string(size)},"mime":{quote(mime)},'
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


def response_document(canonical: bytes, last_modified: datetime) -> bytes:
    """The JSON that the API returns: the stored metadata, which is not parsed, and the time at which it was stored."""
    return b'%b,"lastModified":"%b"}' % (canonical[:-1], javascript.iso_time(last_modified).encode())


def read_content_entry(stored: bytes) -> ContentEntry | None:
    """The target of a stored document, without parsing it; None if that requires parsing.

    It takes a tenth of the time, which matters for artifacts of many soft links. Documents of soft links and bytes end
    with the target if WebGME or this project wrote them. No string in a document can imitate that end, because
    quotation marks in strings are escaped.
    """
    found = _CONTENT_LAST.search(stored)
    return None if found is None else ContentEntry(found[1].decode(), _CONTENT_TYPES[found[2].decode()])


def read_name(stored: bytes) -> str | None:
    """The name in a stored document, without parsing it; None if that requires parsing."""
    found = _NAME_FIRST.match(stored)
    return None if found is None else _string_or_none(javascript.parse_json(found[1]))


def is_hash(value: object) -> TypeGuard[str]:
    """Whether the value is a SHA-1 as the protocol writes it: 40 lowercase hexadecimal digits."""
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def hash_string(path: str, value: object) -> str:
    """Read a JSON field that is a hash. Raises Invalid."""
    if not is_hash(value):
        raise Invalid(f"{path} must be a hash: 40 lowercase hexadecimal digits.")
    return value


def parse_hash(text: str) -> str:
    """The hash in a URL. Raises NotFound for any other string, because nothing can have that name."""
    if not is_hash(text):
        raise NotFound
    return text


def _canonical_order(paths: Iterable[str]) -> list[str]:
    return javascript.key_order(sorted(paths, key=javascript.utf16_key))


def _parse_entry(name: str, value: object) -> ContentEntry:
    """A file of an artifact that a client sent. Raises Invalid."""
    entry = _read_entry(value)
    if entry.content_type is not ContentType.COMPLEX:
        return entry
    # Read it again for the error: paths are too slow for 100,000 files.
    path = f"content[{quote(name[:_SHOWN_PATH])}]"
    fields = JsonFields(json_object(path, value), path)
    return ContentEntry(fields.required("content", hash_string), fields.required("contentType", _entry_type))


def _entry_type(path: str, value: object) -> ContentType:
    content_type = _CONTENT_TYPES.get(_string_or_none(value))
    if content_type is None or content_type is ContentType.COMPLEX:
        raise Invalid(f"{path} must be object or softLink.")
    return content_type


def _entry_text(entry: dict[str, object]) -> str:
    """The canonical JSON of a valid entry: all its keys in the order sent, because both are part of the identity."""
    if len(entry) == 2:
        # It has only `content` and `contentType`, whose values need no escapes.
        return "{" + ",".join([f'"{key}":"{value}"' for key, value in entry.items()]) + "}"
    return javascript.stringify(entry)


def _read_entry(entry: object) -> ContentEntry:
    """A file of an artifact in a store; invalid ones are COMPLEX, so that the other files stay readable."""
    if isinstance(entry, dict):
        content_hash, content_type = entry.get("content"), _CONTENT_TYPES.get(_string_or_none(entry.get("contentType")))
        if is_hash(content_hash) and content_type is not None:
            return ContentEntry(content_hash, content_type)
    return ContentEntry("", ContentType.COMPLEX)


def _string_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None
