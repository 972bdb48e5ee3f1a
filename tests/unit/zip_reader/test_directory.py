"""A directory whose stated position is wrong."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest

from cloud_executor.zip_reader.directory import open_directory
from cloud_executor.zip_reader.errors import NotAZip


@pytest.mark.parametrize("offset", [2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_position_outside_the_file_is_damage(offset: int) -> None:
    end_64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, 46, offset)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 46, 0xFFFFFFFF, 0)
    with pytest.raises(NotAZip):
        open_directory(io.BytesIO(end_64 + locator + end))


def test_bytes_before_the_archive_shift_it() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", "content")
    shifted = io.BytesIO(b"a program" + buffer.getvalue())
    assert [entry.stored_name for entry in open_directory(shifted).entries()] == [b"a"]
