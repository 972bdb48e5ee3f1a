"""Names that nothing else in an emulator has."""

from __future__ import annotations

import uuid


def new_project() -> str:
    """Emulators keep what is in one project from all others, but for buckets, whose names are everybody's."""
    return f"test-{uuid.uuid4().hex[:16]}"
