"""Malicious and unusual zips."""

from __future__ import annotations

import binascii
import io
import os
import stat
import struct
import subprocess
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from worker_harness import Stack, config, zip_of

from cloud_executor.model.jobs.job import Job, Status
from cloud_executor.zip_reader.directory import open_directory

LINK = 0o120777
LIST = config("find . -type f | LC_ALL=C sort; find . -type l | LC_ALL=C sort")


def add(stack: Stack, files: dict[str, str | bytes], modes: dict[str, int] | None = None) -> Job:
    return stack.add({"executor_config.json": LIST, **files}, modes)


def listed(stack: Stack, job: Job) -> list[bytes]:
    """The files that the command found, except those that are always there."""
    lines = stack.results(job)["job_stdout.txt"].splitlines()
    return [line for line in lines if line not in (b"./executor_config.json", b"./job_stdout.txt", b"./job_stderr.txt")]


def patched(content: bytes, change: Callable[[zipfile.ZipInfo], None]) -> bytes:
    """Change fields in the zip's directory."""
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        for member in archive.infolist():
            if member.filename != "executor_config.json":
                change(member)
        archive._didModify = True  # type: ignore[attr-defined]
    return buffer.getvalue()


# Rejected -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/tmp/evil", "a/..", "..", "//evil", "./../evil"],
)
def test_a_name_that_leaves_the_folder_is_rejected(stack: Stack, name: str, tmp_path: Path) -> None:
    job = stack.run(add(stack, {name: "x"}))
    assert (job.status, job.error) == (Status.FAILED_UNZIP, f"The name '{name}' in the source leads out of it.")
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", [0o100644, LINK])
@pytest.mark.parametrize("name", [".", "./.", ""])
def test_a_file_or_link_that_is_the_folder_itself_is_rejected(stack: Stack, name: str, kind: int) -> None:
    job = stack.run(add(stack, {name: "x"}, {name: kind}))
    shown = name if kind != LINK else "."
    error = f"The file '{shown}' of the source could not be written: a folder has the same name."
    assert (job.status, job.error) == (Status.FAILED_UNZIP, error)


@pytest.mark.parametrize("name", ["..\\evil", "C:\\evil", "\\evil", "a\\..\\..\\evil"])
def test_windows_names_that_leave_the_folder_are_rejected(stack: Stack, name: str, tmp_path: Path) -> None:
    content = zip_of({"executor_config.json": LIST, name: "x"})
    job = stack.run(stack.add_zip(patched(content, lambda member: setattr(member, "create_system", 0))))
    assert job.status == Status.FAILED_UNZIP
    assert "leads out of it" in (job.error or "")
    assert not list(tmp_path.rglob("*evil"))


@pytest.mark.parametrize(
    ("links", "refused"),
    [
        ({"link": "/etc/passwd"}, "link"),
        ({"link": "../.."}, "link"),
        ({"link": "../../no-such-file"}, "link"),
        ({"folder/link": "../../job/../../x"}, "folder/link"),
        # Each one looks harmless; together they leave the folder.
        ({"a": ".", "b": "a/.."}, "b"),
        ({"round": "round"}, "round"),
        # The target does not exist yet, but its existing part leads out of the folder.
        ({"sub": ".", "out": "sub/../later"}, "out"),
    ],
)
def test_a_link_that_leaves_the_folder_is_rejected(stack: Stack, links: dict[str, str], refused: str) -> None:
    job = stack.run(add(stack, dict(links), dict.fromkeys(links, LINK)))
    assert job.status == Status.FAILED_UNZIP
    assert job.error == f"The link '{refused}' in the source leads out of it."


def test_nothing_is_written_through_a_link(stack: Stack, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    job = stack.run(add(stack, {"link": str(outside), "link/evil": "x"}, {"link": LINK}))
    assert job.status == Status.FAILED_UNZIP
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK])
def test_special_files_are_rejected(stack: Stack, kind: int) -> None:
    job = stack.run(add(stack, {"special": ""}, {"special": kind | 0o644}))
    assert (job.status, job.error) == (
        Status.FAILED_UNZIP,
        "'special' in the source is a device, a pipe, or a socket.",
    )


def test_encrypted_files_are_rejected(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "executor_config.json").write_text(LIST)
    subprocess.run(["zip", "-q", "-P", "word", "s.zip", "executor_config.json"], cwd=tmp_path, check=True)
    job = stack.run(stack.add_zip((tmp_path / "s.zip").read_bytes()))
    assert (job.status, job.error) == (
        Status.FAILED_UNZIP,
        "The file 'executor_config.json' in the source is encrypted.",
    )


def test_a_zip_bomb_is_rejected_before_it_is_unpacked(stack: Stack) -> None:
    job = stack.run(add(stack, {"zeros": bytes(200 * 1024**2)}))
    assert job.status == Status.FAILED_UNZIP
    assert job.error == "The source grows more than 200 times when it is unpacked; store it uncompressed."


def test_a_zip_bomb_of_overlapping_files_is_rejected(stack: Stack) -> None:
    """Many directory entries share the same content."""
    content = zip_of({"executor_config.json": LIST, "zeros": bytes(1024**2)})
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.filelist += [archive.getinfo("zeros")] * 300
        archive._didModify = True  # type: ignore[attr-defined]
    job = stack.run(stack.add_zip(buffer.getvalue()))
    assert job.status == Status.FAILED_UNZIP
    assert job.error == "The source grows more than 200 times when it is unpacked; store it uncompressed."


def test_a_wrong_size_is_damage_and_yields_no_more_bytes_than_stated(stack: Stack) -> None:
    content = zip_of({"executor_config.json": LIST, "zeros": bytes(1024**2)})
    job = stack.run(stack.add_zip(patched(content, lambda member: setattr(member, "file_size", 10))))
    assert (job.status, job.error) == (Status.FAILED_UNZIP, "The file 'zeros' in the source is damaged.")


def test_a_source_with_too_many_files_is_rejected(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_vm.worker.source.unzip.MAX_FILES", 3)
    monkeypatch.setattr("worker_vm.worker.source.fetch.MAX_FILES", 3)
    files = {"executor_config.json": LIST, "a": "1", "b": "2", "c": "3"}
    for add_files in (stack.add, stack.add_artifact):
        assert stack.run(add_files(files)).error == "The source has more than 3 files."


def test_a_directory_that_is_too_large_for_memory_is_rejected(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_vm.worker.source.unzip.MAX_DIRECTORY_BYTES", 100)
    job = stack.run(add(stack, {"a" * 60: "x"}))
    assert (job.status, job.error) == (Status.FAILED_UNZIP, "The source has too many files.")


def test_unsupported_compression_methods_are_rejected(stack: Stack) -> None:
    content = zip_of({"executor_config.json": LIST, "data": "x"})
    job = stack.run(stack.add_zip(patched(content, lambda member: setattr(member, "compress_type", 98))))
    error = "The file 'data' in the source uses an unsupported compression method; use deflate."
    assert (job.status, job.error) == (Status.FAILED_UNZIP, error)


def folders(count: int, levels: int) -> dict[str, str | bytes]:
    return {"/".join([str(number), *["d"] * (levels - 1), "f"]): "" for number in range(count)}


@pytest.mark.parametrize("add_files", [Stack.add, Stack.add_artifact])
def test_folders_count_as_files_and_take_disk_space(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, add_files: Callable[[Stack, dict[str, str | bytes]], Job]
) -> None:
    """Nothing is created for a source that takes too many of the disk's inodes."""
    monkeypatch.setattr("worker_vm.worker.source.unzip.MAX_FILES", 1000)
    monkeypatch.setattr("worker_vm.worker.source.fetch.MAX_FILES", 1000)
    monkeypatch.setattr("worker_vm.worker.source.file_tree.FileTree.write_file", None)
    job = stack.run(add_files(stack, {"executor_config.json": LIST, **folders(20, 50)}))
    assert (job.status, job.error) == (Status.FAILED_UNZIP, "The source has more than 1000 files.")


def test_a_name_with_too_many_folders_is_rejected_before_the_first_one_is_created(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker_vm.worker.source.file_tree.FileTree.write_file", None)
    job = stack.run(add(stack, folders(1, 101)))
    assert job.status == Status.FAILED_UNZIP
    assert "more than 100 folders" in (job.error or "")


def test_100_levels_of_folders_are_accepted(stack: Stack) -> None:
    job = stack.run(add(stack, folders(1, 100)))
    assert job.status == Status.SUCCESS


def test_links_with_long_targets_are_limited(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_vm.worker.source.file_tree.MAX_LINKS_MIB", 0.01)
    links: dict[str, str | bytes] = {f"link{number}": "x" * 4000 for number in range(3)}
    job = stack.run(add(stack, links, dict.fromkeys(links, LINK)))
    assert job.status == Status.FAILED_UNZIP
    assert "The links in the source take more than" in (job.error or "")


def test_the_stated_number_of_files_is_checked_first(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_vm.worker.source.unzip.MAX_FILES", 3)
    monkeypatch.setattr("worker_vm.worker.source.unzip._Entries", None)
    files = {"executor_config.json": LIST, "a": "1", "b": "2", "c": "3"}
    assert stack.run(stack.add(files)).error == "The source has more than 3 files."


def test_a_wrong_number_of_files_does_not_hide_them(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_vm.worker.source.unzip.MAX_FILES", 3)
    content = zip_of({"executor_config.json": LIST, "a": "1", "b": "2", "c": "3"})
    end = content.rindex(b"PK\5\6")
    lying = content[: end + 8] + struct.pack("<2H", 1, 1) + content[end + 12 :]
    assert stack.run(stack.add_zip(lying)).error == "The source has more than 3 files."


def test_the_directory_of_many_files_takes_little_memory(stack: Stack) -> None:
    """One entry per 160 bytes, as in real archives: as objects, they would take six times as much."""
    name = "x" * 100
    content = zip_of({f"{name}{number}": "" for number in range(20_000)})
    directory = open_directory(io.BytesIO(content))
    tracemalloc.start()
    count = sum(1 for _ in directory.entries())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 1024**2


@pytest.mark.parametrize("content", [b"PK\7\x08" + b"x" * 500, None])
def test_a_part_of_a_split_zip_is_named(stack: Stack, content: bytes | None) -> None:
    """The first part begins with a marker; the last one states its number."""
    if content is None:
        content = zip_of({"executor_config.json": LIST})
        end = content.rindex(b"PK\5\6")
        content = content[: end + 4] + struct.pack("<2H", 2, 1) + content[end + 8 :]
    job = stack.run(stack.add_zip(content))
    assert job.status == Status.FAILED_UNZIP
    assert (job.error or "").startswith("The source is one part of a split zip: join the parts first")


def test_parts_made_by_zip_are_named(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "executor_config.json").write_text(LIST)
    (tmp_path / "large").write_bytes(os.urandom(150_000))
    subprocess.run(["zip", "-q", "-s", "64k", "s.zip", "executor_config.json", "large"], cwd=tmp_path, check=True)
    for part in ("s.z01", "s.zip"):
        job = stack.run(stack.add_zip((tmp_path / part).read_bytes()))
        assert "one part of a split zip" in (job.error or "")


def test_a_config_one_folder_down_is_named(stack: Stack) -> None:
    job = stack.run(stack.add({"my job/executor_config.json": LIST, "other/data": "x"}))
    assert job.status == Status.FAILED_EXECUTOR_CONFIG
    assert job.error == (
        "The source has no executor_config.json at its top level, but one in the folder 'my job': "
        "use the contents of that folder, not the folder itself."
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [("x" * 300, "its name is too long"), ("d/" * 2500 + "f", "its name is too long")],
)
def test_a_name_that_the_file_system_rejects(stack: Stack, name: str, reason: str) -> None:
    job = stack.run(add(stack, {name: "x"}))
    assert job.status == Status.FAILED_UNZIP
    assert reason in (job.error or "")


def test_changed_bytes_are_detected(stack: Stack) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("executor_config.json", LIST)
        archive.writestr("data", "some data")
    job = stack.run(stack.add_zip(buffer.getvalue().replace(b"some data", b"some date")))
    assert (job.status, job.error) == (Status.FAILED_UNZIP, "The file 'data' in the source is damaged.")


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_the_worker_survives_any_damage(stack: Stack, cut: int) -> None:
    """Whatever the damage, the job fails because of its archive or its config."""
    content = bytearray(zip_of({"executor_config.json": "{}", "é" * 3: "x" * 99}))
    place = cut % len(content)
    content[place] ^= 0xFF
    job = stack.run(stack.add_zip(bytes(content)))
    assert job.status in (Status.FAILED_UNZIP, Status.FAILED_EXECUTOR_CONFIG)


# Unusual ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_methods(stack: Stack, method: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("executor_config.json", config("cat small; wc -c < large; wc -c < none"))
        archive.writestr("small", "some text\n")
        archive.writestr("large", os.urandom(700_000) + b"a" * 20_000_000)
        archive.writestr("none", "")
    job = stack.run(stack.add_zip(buffer.getvalue()))
    assert stack.results(job)["job_stdout.txt"] == b"some text\n20700000\n0\n"


def test_permissions_are_kept_except_special_bits(stack: Stack) -> None:
    files = {"run": "", "plain": "", "closed": "", "special": "", "executor_config.json": config("stat -c '%a %n' *")}
    modes = {"run": 0o100755, "plain": 0o100644, "closed": 0o100000, "special": 0o104755}
    job = stack.run(stack.add(files, modes))
    lines = stack.results(job)["job_stdout.txt"].decode().splitlines()
    assert {"755 run", "644 plain", "644 closed", "755 special"} <= set(lines)


def test_an_artifacts_files_are_not_executable_regardless_of_the_umask(stack: Stack) -> None:
    before = os.umask(0o077)
    try:
        job = stack.run(stack.add_artifact({"executor_config.json": config("stat -c %a run.sh"), "run.sh": "x"}))
    finally:
        os.umask(before)
    assert stack.results(job)["job_stdout.txt"] == b"644\n"


def test_links_within_the_folder_are_kept(stack: Stack) -> None:
    files = {"dir/file": "content", "dir/link": "../dir/file", "up": "dir", "later": "made-by-command"}
    modes = dict.fromkeys(("dir/link", "up", "later"), LINK)
    job = stack.run(stack.add({"executor_config.json": config("cat up/link; readlink later"), **files}, modes))
    assert stack.results(job)["job_stdout.txt"] == b"contentmade-by-command\n"


def test_the_last_of_two_files_with_the_same_name_is_kept(stack: Stack) -> None:
    buffer = io.BytesIO()
    with pytest.warns(UserWarning), zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("executor_config.json", config("cat a"))
        archive.writestr("a", "first")
        archive.writestr("a", "second")
    job = stack.run(stack.add_zip(buffer.getvalue()))
    assert stack.results(job)["job_stdout.txt"] == b"second"


def test_redundant_parts_of_names_are_removed(stack: Stack) -> None:
    job = stack.run(add(stack, {"./a//b/./c": "x", "folder/": "", "empty//": "", "./": ""}))
    assert listed(stack, job) == [b"./a/b/c"]


def test_names_in_utf_8(stack: Stack) -> None:
    job = stack.run(add(stack, {"ü 漢 😀.txt": "x"}))
    assert listed(stack, job) == ["./ü 漢 😀.txt".encode()]


def test_unmarked_bytes_from_unix_are_unchanged(stack: Stack) -> None:
    content = zip_of({"executor_config.json": LIST, "caf?.txt": "x"}).replace(b"caf?.txt", b"caf\xe9.txt")
    job = stack.run(stack.add_zip(content))
    assert listed(stack, job) == [b"./caf\xe9.txt"]
    assert stack.results(job)["café.txt"] == b"x"


def test_unmarked_names_from_dos_are_in_code_page_437_and_have_backslashes(stack: Stack) -> None:
    content = zip_of({"executor_config.json": LIST, "dir\\caf?.txt": "x"})
    content = patched(content, lambda member: setattr(member, "create_system", 0)).replace(b"caf?.txt", b"caf\x82.txt")
    job = stack.run(stack.add_zip(content))
    assert listed(stack, job) == ["./dir/café.txt".encode()]


def test_unmarked_names_from_dos_that_are_utf_8_are_decoded_as_utf_8(stack: Stack) -> None:
    content = zip_of({"executor_config.json": LIST, "caf??.txt": "x"})
    content = patched(content, lambda member: setattr(member, "create_system", 0))
    job = stack.run(stack.add_zip(content.replace(b"caf??.txt", "café.txt".encode())))
    assert listed(stack, job) == ["./café.txt".encode()]


def test_an_additional_unicode_name_takes_precedence(stack: Stack) -> None:
    field = struct.pack("<BL", 1, binascii.crc32(b"plain")) + "ü".encode()

    def add_name(member: zipfile.ZipInfo) -> None:
        member.extra = struct.pack("<HH", 0x7075, len(field)) + field

    job = stack.run(stack.add_zip(patched(zip_of({"executor_config.json": LIST, "plain": "x"}), add_name)))
    assert listed(stack, job) == ["./ü".encode()]


def test_zips_made_by_zip_and_zip64_archives_are_read(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "executor_config.json").write_text(config("./run.sh"))
    script = tmp_path / "run.sh"
    script.write_text("#!/bin/sh\necho ran\n")
    script.chmod(0o755)
    command = ["zip", "-q", "-fz", "s.zip", "executor_config.json", "run.sh"]
    subprocess.run(command, cwd=tmp_path, check=True)
    job = stack.run(stack.add_zip((tmp_path / "s.zip").read_bytes()))
    assert stack.results(job)["job_stdout.txt"] == b"ran\n"


def test_bytes_before_the_archive_are_skipped(stack: Stack) -> None:
    job = stack.run(stack.add_zip(b"#!/bin/sh\n" + zip_of({"executor_config.json": LIST})))
    assert job.status == Status.SUCCESS
