"""The Content-Disposition header of a download (docs/protocol.md: Content-Disposition).

Clients parse it, so it equals what the npm package `content-disposition` 1.1 writes (RFC 6266).
"""

from __future__ import annotations

import re
from urllib.parse import quote

from cloud_executor.model.documents.javascript import to_well_formed, utf16_units

_NOT_LATIN_1 = re.compile("[^\x20-\x7e\xa0-\xff]")
_NOT_ASCII = re.compile("[^\x20-\x7e]")
_HEX_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")


def attachment(name: str) -> str:
    """The header for a file with this name. It has only Latin-1 characters, as WSGI requires."""
    return _attachment(name, _NOT_LATIN_1)


def ascii_attachment(name: str) -> str:
    """The same header in ASCII, for a URL that tells another server which header to send."""
    return _attachment(name, _NOT_ASCII)


def _attachment(name: str, unsupported: re.Pattern[str]) -> str:
    name = name.replace("\\", "/").rstrip("/")
    name = name[name.rfind("/") + 1 :]
    fallback = unsupported.sub("?", utf16_units(name))
    escaped = fallback.replace("\\", "\\\\").replace('"', '\\"')
    header = f'attachment; filename="{escaped}"' if name else "attachment"
    if not name or fallback != name or _HEX_ESCAPE.search(name):
        header += f"; filename*=UTF-8''{quote(to_well_formed(name), safe='!')}"
    return header
