from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from stored_data import Data, opened


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Data]:
    with opened(tmp_path) as found:
        yield found
