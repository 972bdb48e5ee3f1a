"""How a setting is declared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Any


def setting(
    default: Any,  # noqa: ANN401 - of the field's own type, which dataclasses cannot express
    parse: Callable[[str], object],
    form: str,
    meaning: str,
    *,
    shown_default: str | None = None,
    secret: bool = False,
) -> Any:  # noqa: ANN401 - as above
    """A field with its entry in docs/api.md. `shown_default` replaces the default value there."""
    return field(
        default=default,
        repr=not secret,
        metadata={"parse": parse, "form": form, "meaning": meaning, "shown_default": shown_default},
    )
