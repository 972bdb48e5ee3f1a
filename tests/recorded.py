"""Load the recorded data in tests/data."""

import json
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"


def recorded(file: str) -> dict[str, Any]:
    return json.loads((DATA / file).read_text(encoding="ascii"))
