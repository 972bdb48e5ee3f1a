"""The modification times of unpacked files."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from worker_harness import Stack, config

from cloud_executor.zip_reader.directory import ZipEntry
from worker_vm.worker.source.file_times import modified_ns

LOCAL = (2024, 1, 31, 13, 14, 16)
UTC_SECONDS = 1_600_000_001


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Tokyo"])
def time_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def member(date_time: tuple[int, int, int, int, int, int] = LOCAL, extra: bytes = b"") -> ZipEntry:
    year, month, day, hour, minute, second = date_time
    return ZipEntry(
        stored_name=b"name",
        extra=extra,
        system=0,
        flags=0,
        method=0,
        dos_time=hour << 11 | minute << 5 | second // 2,
        dos_date=year - 1980 << 9 | month << 5 | day,
        crc32=0,
        packed_size=0,
        size=0,
        attributes=0,
        offset=0,
    )


def field(kind: int, data: bytes) -> bytes:
    return struct.pack("<HH", kind, len(data)) + data


def seconds_of(found: ZipEntry) -> float | None:
    nanoseconds = modified_ns(found)
    return None if nanoseconds is None else nanoseconds / 10**9


@pytest.mark.parametrize("month", [1, 7])
@pytest.mark.usefixtures("time_zone")
def test_a_time_without_a_zone_is_local(month: int) -> None:
    date = (2024, month, 31, 13, 14, 16)
    assert seconds_of(member(date)) == time.mktime((*date, 0, 0, -1))


NTFS = struct.pack("<LHHQQQ", 0, 1, 24, (UTC_SECONDS + 11_644_473_600) * 10**7, 0, 0)


@pytest.mark.parametrize(
    "extra",
    [
        field(0x5455, struct.pack("<Bl", 3, UTC_SECONDS)),
        field(0x9999, b"other") + field(0x5455, struct.pack("<Bl", 1, UTC_SECONDS)),
        field(0x5855, struct.pack("<ll", 1, UTC_SECONDS)),
        field(0x000A, NTFS),
    ],
)
@pytest.mark.usefixtures("time_zone")
def test_a_time_in_utc_takes_precedence(extra: bytes) -> None:
    assert seconds_of(member(extra=extra)) == UTC_SECONDS
    assert seconds_of(member((1980, 1, 1, 0, 0, 0), extra)) == UTC_SECONDS


@pytest.mark.parametrize("seconds", [-(2**31), -1, 0, 2**31 - 1])
def test_a_time_in_utc_can_be_before_1970(seconds: int) -> None:
    assert seconds_of(member(extra=field(0x5455, struct.pack("<Bl", 1, seconds)))) == seconds


@pytest.mark.parametrize(
    "extra",
    [
        b"UT",
        field(0x5455, b""),
        field(0x5455, b"\1\0\0"),
        field(0x5455, struct.pack("<Bl", 2, UTC_SECONDS)),
        struct.pack("<HH", 0x5455, 5000),
        field(0x000A, b"\0\0\0\0\1\0"),
        field(0x5855, b"\0"),
    ],
)
def test_an_invalid_field_is_ignored(extra: bytes) -> None:
    assert seconds_of(member(extra=extra)) == time.mktime((*LOCAL, 0, 0, -1))


@pytest.mark.usefixtures("time_zone")
@pytest.mark.parametrize(
    "date", [(1980, 1, 1, 0, 0, 0), (1980, 0, 0, 0, 0, 0), (2024, 2, 30, 0, 0, 0), (2024, 1, 1, 25, 0, 0)]
)
def test_an_absent_or_invalid_time_is_none(date: tuple[int, int, int, int, int, int]) -> None:
    assert modified_ns(member(date)) is None


def test_a_leap_second_of_dos_is_the_last_second() -> None:
    assert seconds_of(member((2024, 1, 31, 13, 14, 60))) == time.mktime((2024, 1, 31, 13, 14, 59, 0, 0, -1))


# Jobs ---------------------------------------------------------------------------------------------------------------

MAKEFILE = "target: source\n\tcp source target\n"


@pytest.mark.parametrize(("age_of_target", "code"), [(-100, 0), (100, 1)])
def test_make_sees_what_is_outdated(stack: Stack, tmp_path: Path, age_of_target: int, code: int) -> None:
    assert shutil.which("make") and shutil.which("zip")
    folder = tmp_path / "packed"
    folder.mkdir()
    now = int(time.time()) - 10_000
    for name, content, modified in (
        ("Makefile", MAKEFILE, now),
        ("executor_config.json", config("make -q; echo $?; stat -c %Y source sub"), now),
        ("target", "", now - age_of_target),
        ("source", "", now),
    ):
        (folder / name).write_text(content)
        subprocess.run(["touch", "-d", f"@{modified}", folder / name], check=True)
    (folder / "sub").mkdir()
    subprocess.run(["touch", "-d", f"@{now}", folder / "sub"], check=True)
    subprocess.run(["zip", "-qr", tmp_path / "source.zip", "."], cwd=folder, check=True)
    job = stack.run(stack.add_zip((tmp_path / "source.zip").read_bytes()))
    assert stack.results(job)["job_stdout.txt"].split() == [str(value).encode() for value in (code, now, now)]


def test_files_without_times_have_the_same_recent_one(stack: Stack) -> None:
    before = time.time()
    files = {"executor_config.json": config("make -q; echo $?; stat -c %Y target source Makefile"), "target": ""}
    files |= {"source": "", "Makefile": MAKEFILE}
    assert_recent(stack, before, stack.add_artifact(files).hash)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    assert_recent(stack, before, stack.add_zip(packed.getvalue()).hash)


def assert_recent(stack: Stack, before: float, job_hash: str) -> None:
    results = stack.results(stack.run(stack.jobs.clients.get(job_hash)))
    code, *times = map(int, results["job_stdout.txt"].split())
    assert code == 0 and len(set(times)) == 1
    assert int(before) <= times[0] <= time.time()
