"""Test that the client finds the config that the worker would use."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import pytest

from cloud_executor.client.errors import InvalidSource
from cloud_executor.client.source.job_source import Source, open_source

CONFIG = '{"cmd": "true", "resultArtifacts": []}'
DEFLATE64_ZIP = Path(__file__).parents[2] / "data" / "deflate64.zip"


def write_zip(path: Path, names: dict[str, str], *, system: int = 3, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in names.items():
            member = zipfile.ZipInfo()
            member.filename, member.create_system, member.compress_type = name, system, method
            archive.writestr(member, content)
    return path


def check(path: Path) -> None:
    with open_source(Source(path)) as source:
        assert source.size == path.stat().st_size


@pytest.mark.parametrize(
    ("name", "system"), [("executor_config.json", 3), ("./executor_config.json", 3), (".\\executor_config.json", 0)]
)
def test_names_mean_the_same_as_to_the_worker(tmp_path: Path, name: str, system: int) -> None:
    check(write_zip(tmp_path / "job.zip", {name: CONFIG}, system=system))


def test_a_backslash_from_unix_is_part_of_the_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match=r"has no executor_config\.json at its top level"):
        check(write_zip(tmp_path / "job.zip", {".\\executor_config.json": CONFIG}))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_methods(tmp_path: Path, method: int) -> None:
    check(write_zip(tmp_path / "job.zip", {"executor_config.json": CONFIG}, method=method))


@pytest.mark.parametrize("installed", [True, False])
def test_deflate64_is_accepted_whether_its_decoder_is_installed_or_not(
    installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not installed:
        monkeypatch.setitem(sys.modules, "inflate64", None)
    check(DEFLATE64_ZIP)


def test_a_config_one_folder_down_is_named(tmp_path: Path) -> None:
    write_zip(tmp_path / "job.zip", {"data": "", "my job/executor_config.json": CONFIG})
    (tmp_path / "folder" / "my job").mkdir(parents=True)
    (tmp_path / "folder" / "my job" / "executor_config.json").write_text(CONFIG)
    for path in (tmp_path / "job.zip", tmp_path / "folder"):
        with pytest.raises(InvalidSource, match="but one in the folder 'my job': use the contents of that folder"):
            check(path)


def test_a_part_of_a_split_zip_is_named(tmp_path: Path) -> None:
    part = tmp_path / "job.z01"
    part.write_bytes(b"PK\7\x08" + bytes(100))
    with pytest.raises(InvalidSource, match="is one part of a split zip"):
        check(part)


@pytest.mark.parametrize("content", [b"", b"text", bytes(100_000)])
def test_a_file_that_is_no_zip(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "job.zip").write_bytes(content)
    with pytest.raises(InvalidSource, match="neither a folder nor a readable zip"):
        check(tmp_path / "job.zip")


def test_damage_of_the_config_is_named(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("executor_config.json", CONFIG)
    (tmp_path / "job.zip").write_bytes(buffer.getvalue().replace(b"true", b"tree"))
    with pytest.raises(InvalidSource, match=r"cannot be used: The file .* in the source is damaged"):
        check(tmp_path / "job.zip")
