"""Commands for stored files and artifacts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_output import Lines, said
from servers.fake_server import FakeServer

from cloud_executor.cli.main import run_command


def test_blobs_are_stored_shown_and_copied(server: FakeServer, capsys: Any) -> None:
    Path("set", "deep").mkdir(parents=True)
    Path("set", "deep", "x").write_text("x")
    Path("file.txt").write_text("content")
    assert run_command(["put", "file.txt"]) == run_command(["put", "set"]) == run_command(["put", "--zip", "set"]) == 0
    file, artifact, packed = capsys.readouterr().out.split()
    assert run_command(["put", "file.txt", "set", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file.txt": file, "set": artifact}
    assert run_command(["ls", artifact]) == run_command(["ls", file]) == 0
    assert capsys.readouterr().out == "deep/x\nfile.txt\t7 B\n"
    assert run_command(["cat", file]) == run_command(["cat", artifact, "deep/x"]) == 0
    assert capsys.readouterr().out == "contentx"
    Path("to").mkdir()
    assert run_command(["cp", file, "to"]) == run_command(["cp", f"{artifact}/deep/x", "to/y"]) == 0
    assert run_command(["cp", artifact, "copy"]) == run_command(["cp", packed, "packed.zip"]) == 0
    assert (Path("to", "file.txt").read_text(), Path("to", "y").read_text()) == ("content", "x")
    assert Path("copy", "deep", "x").read_text() == "x"
    assert run_command(["run", "--detach", "--input", f"a={file}", "--input", "b=set", "--", "true"]) == 0
    (job,) = server.jobs
    assert server.files_of(job)["a"] == b"content"
    assert server.files_of(job)["b/deep/x"] == b"x"


def test_a_destination_that_ends_with_a_slash_is_a_folder(server: FakeServer, capsys: Any) -> None:
    Path("set", "deep").mkdir(parents=True)
    Path("set", "deep", "x").write_text("x")
    artifact = server.client.upload_artifact(Path("set"))
    file = server.put_file("file.txt", b"content")
    assert run_command(["cp", f"{artifact}/deep/x", "new/"]) == run_command(["cp", file, "a/b/"]) == 0
    assert Path("new", "x").read_text() == "x"
    assert Path("a", "b", "file.txt").read_text() == "content"
    assert run_command(["cp", artifact, "all/"]) == 0
    assert Path("all", "deep", "x").read_text() == "x"
    assert run_command(["cp", file, "new/x/"]) == 2
    assert said(capsys) == "Error: new/x cannot be used: file exists."


def test_an_artifact_has_the_name_of_its_folder(
    server: FakeServer, printed: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("set").mkdir()
    Path("set", "x").write_text("x")
    assert run_command(["put", "set/"]) == run_command(["put", "--zip", "set"]) == 0
    monkeypatch.chdir("set")
    assert run_command(["put", "."]) == 0
    assert [server.blobs[blob]["name"] for blob in printed()] == ["set.zip"] * 3
