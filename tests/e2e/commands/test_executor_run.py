"""`executor run` against a running stack."""

from __future__ import annotations

import importlib.metadata
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from stack_process import (
    COMMAND,
    EMBEDDED,
    PROJECT,
    WAIT_SECONDS,
    StackProcess,
    environment,
    job_folder,
    line_that_starts,
    run,
    started,
    until,
)

from cloud_executor.cli.main import run_command
from cloud_executor.version import VERSION


@pytest.fixture
def url(stack: StackProcess) -> str:
    return stack.url


def lines(output: bytes) -> list[str]:
    return output.decode().splitlines()


@EMBEDDED
def test_it_prints_exactly_what_the_job_wrote(url: str, tmp_path: Path) -> None:
    folder = job_folder(tmp_path / "bytes", r"printf 'a\000\377\r\nlast'")
    finished = run("run", folder, "--url", url)
    assert (finished.returncode, finished.stdout) == (0, b"a\0\xff\r\nlast")
    assert lines(finished.stderr)[-1] == "SUCCESS"


@EMBEDDED
def test_out_selects_the_folder_for_the_results(url: str, tmp_path: Path) -> None:
    artifacts = [{"name": "a", "resultPatterns": ["**/*.txt"]}, {"name": "b", "resultPatterns": ["deep/**", "üñ"]}]
    folder = job_folder(
        tmp_path / "files", "mkdir -p deep/er; echo 1 > deep/er/x.txt; : > deep/y; echo 2 > üñ", artifacts
    )
    out = tmp_path / "new" / "results"
    finished = run("run", folder, "--url", url, "--out", out)
    assert finished.returncode == 0
    found = {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()}
    assert found == {"deep/er/x.txt": "1\n", "deep/y": "", "üñ": "2\n", "job_stdout.txt": "", "job_stderr.txt": ""}
    assert lines(finished.stderr)[-1] == f"Stored 5 result files in {out}."


@EMBEDDED
def test_modes_symlinks_hidden_files_and_empty_folders_of_the_job_are_kept(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "program"
    (folder / "bin" / "empty").mkdir(parents=True)
    (folder / "bin" / "tool").write_text('#!/bin/sh\nread line < data; echo "$line"; test -d bin/empty\n')
    (folder / "bin" / "tool").chmod(0o755)
    (folder / "run").symlink_to("bin/tool")
    (folder / ".hidden").write_text("found\n")
    (folder / "data").symlink_to(".hidden")
    (folder / "executor_config.json").write_text(
        '{"cmd": "./run", "resultArtifacts": [{"name": "out", "resultPatterns": ["job_stdout.txt"]}]}'
    )
    finished = run("run", folder, "--url", url)
    assert (finished.returncode, finished.stdout) == (0, b"found\n")


@EMBEDDED
def test_a_zip_is_submitted_unchanged(url: str, tmp_path: Path) -> None:
    folder = job_folder(tmp_path / "zipped", "echo from a zip")
    with zipfile.ZipFile(tmp_path / "job.zip", "w") as archive:
        archive.write(folder / "executor_config.json", "executor_config.json")
    finished = run("run", tmp_path / "job.zip", EXECUTOR_URL=url)
    assert (finished.returncode, finished.stdout) == (0, b"from a zip\n")


@EMBEDDED
def test_the_folder_can_be_given_as_a_dot(url: str, tmp_path: Path) -> None:
    folder = job_folder(tmp_path / "here", "echo here")
    finished = run("run", ".", "--url", url, cwd=folder)
    assert (finished.returncode, finished.stdout) == (0, b"here\n")
    assert lines(finished.stderr)[0].startswith("Uploading here.zip ")


@EMBEDDED
def test_running_the_same_folder_again_shows_the_existing_results(url: str, tmp_path: Path) -> None:
    folder = job_folder(tmp_path / "twice", "date +%N; cat /proc/sys/kernel/random/uuid")
    first = run("run", folder, "--url", url)
    os.utime(folder / "executor_config.json", (0, 0))
    again = run("run", folder, "--url", url)
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert "has already run with the same content" in again.stderr.decode()
    rerun = run("run", folder, "--url", url, "--rerun")
    assert (rerun.returncode, rerun.stdout != first.stdout) == (0, True)


@EMBEDDED
def test_a_failed_job_exits_with_1_and_the_reason(url: str, tmp_path: Path) -> None:
    script = "echo partial; i=0; while [ $i -lt 50 ]; do echo line $i >&2; i=$((i+1)); done; exit 3"
    folder = job_folder(tmp_path / "fails", script)
    finished = run("run", folder, "--url", url, "--out", tmp_path / "out")
    assert (finished.returncode, finished.stdout) == (1, b"partial\n")
    *_, first, _, last, reason = lines(finished.stderr)
    assert (first, last) == ("line 47", "line 49")
    assert reason == "FAILED_TO_EXECUTE: The command exited with code 3."
    assert "line 30" in finished.stderr.decode()
    assert "line 29\n" not in finished.stderr.decode()
    assert (tmp_path / "out" / "job_stdout.txt").read_text() == "partial\n"
    again = run("run", folder, "--url", url)
    assert again.returncode == 1
    assert lines(again.stderr)[-1].startswith("The same content runs only once.")


@EMBEDDED
def test_a_failed_job_that_keeps_no_results_shows_the_end_of_both_outputs(url: str, tmp_path: Path) -> None:
    script = "i=0; while [ $i -lt 50 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done; exit 3"
    finished = run("run", job_folder(tmp_path / "unkept", script, artifacts=[]), "--url", url)
    assert (finished.returncode, lines(finished.stdout)) == (1, [f"out {number}" for number in range(30, 50)])
    shown = lines(finished.stderr)
    assert shown[-21:-1] == [f"err {number}" for number in range(30, 50)]
    assert shown[-1] == "FAILED_TO_EXECUTE: The command exited with code 3."


@EMBEDDED
def test_an_artifact_without_files_has_a_warning(url: str, tmp_path: Path) -> None:
    artifacts = [{"name": "a", "resultPatterns": ["out"]}]
    finished = run("run", job_folder(tmp_path / "unmatched", "mkdir out; echo > out/x", artifacts), "--url", url)
    expected = "Warning: No file matches the patterns of the artifact 'a'. 'out' is a folder; use 'out/**'."
    assert finished.returncode == 0 and expected in lines(finished.stderr)


@EMBEDDED
def test_a_job_that_cannot_start_exits_with_1_and_the_reason(url: str, tmp_path: Path) -> None:
    folder = job_folder(tmp_path / "config", "echo", artifacts=[{"name": 5}])  # type: ignore[list-item]
    finished = run("run", folder, "--url", url)
    assert finished.returncode == 1
    assert lines(finished.stderr)[-1].startswith(
        "FAILED_EXECUTOR_CONFIG: executor_config.json: resultArtifacts[0].name"
    )


@EMBEDDED
def test_output_is_printed_even_if_no_artifact_keeps_it(url: str, tmp_path: Path) -> None:
    finished = run("run", job_folder(tmp_path / "none", "echo kept", artifacts=[]), "--url", url)
    assert (finished.returncode, finished.stdout) == (0, b"kept\n")
    assert not any("was not kept" in line for line in lines(finished.stderr))


@EMBEDDED
def test_ctrl_c_cancels_the_job(stack: StackProcess, tmp_path: Path) -> None:
    folder = job_folder(tmp_path / "long", f"touch {tmp_path}/started; sleep 600")
    with started(*COMMAND, "run", folder, "--url", stack.url, stderr=subprocess.PIPE) as process:
        # The job may start before the command knows that it has created it.
        created = line_that_starts(process.stderr, "Created job ").split()[2].removesuffix(".")
        until((tmp_path / "started").exists)
        process.send_signal(signal.SIGINT)
        line_that_starts(process.stderr, "Canceled the job.")
        assert process.wait(WAIT_SECONDS) == 130
    with stack.client as client:
        assert client.wait(created, 30).status == "CANCELED"


@EMBEDDED
def test_ctrl_c_does_not_cancel_another_users_job(stack: StackProcess, tmp_path: Path) -> None:
    folder = job_folder(tmp_path / "theirs", f"touch {tmp_path}/started; sleep 600")
    with stack.client as client:
        job = client.create_job(client.upload_folder(folder))
        assert job.secret is not None
        until((tmp_path / "started").exists)
        with started(*COMMAND, "run", folder, "--url", stack.url, stderr=subprocess.PIPE) as process:
            line_that_starts(process.stderr, "RUNNING on ")
            process.send_signal(signal.SIGINT)
            line_that_starts(process.stderr, "Stopped waiting. The job continues")
            assert process.wait(WAIT_SECONDS) == 130
        assert client.job(job.hash).status == "RUNNING"
        client.cancel(job.hash, job.secret)
        assert client.wait(job.hash, 30).status == "CANCELED"


@EMBEDDED
def test_a_message_says_that_no_worker_has_the_labels(stack: StackProcess, tmp_path: Path) -> None:
    folder = job_folder(tmp_path / "labels", "echo")
    labels = ("--label", "gpu", "--label", "matlab")
    with started(*COMMAND, "run", folder, "--url", stack.url, *labels, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        seen = [process.stderr.readline().decode() for _ in range(4)]
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_SECONDS) == 130
    assert seen[2:] == [
        "CREATED, waiting for a worker with the labels gpu, matlab\n",
        "No worker with the labels gpu, matlab is available, so the job waits until one starts. Ctrl-C cancels it.\n",
    ]


@EMBEDDED
def test_on_a_terminal_the_status_updates_in_one_line(url: str, tmp_path: Path) -> None:
    terminal, end = pty.openpty()
    seen = tmp_path / "seen"
    folder = job_folder(tmp_path / "tty", f"until test -e {seen}; do sleep 0.05; done; echo done")
    shown = b""
    with started(*COMMAND, "run", folder, "--url", url, stdout=subprocess.PIPE, stderr=end) as process:
        os.close(end)
        while b"RUNNING on " not in shown:
            shown += os.read(terminal, 65536)
        seen.touch()
        output, _ = process.communicate(timeout=30)
    shown += os.read(terminal, 65536)
    os.close(terminal)
    assert (process.returncode, output) == (0, b"done\n")
    *_, running, succeeded = shown.decode().split("\n")[2].removesuffix("\r").split("\r")
    assert running.startswith("RUNNING on ")
    assert succeeded.startswith("SUCCESS (")


@EMBEDDED
def test_a_closed_output_pipe_causes_no_traceback(url: str, tmp_path: Path) -> None:
    folder = job_folder(tmp_path / "much", "yes | head -c 3000000")
    shell = f"{' '.join(COMMAND)} run {folder} --url {url} | head -c 4"
    finished = subprocess.run(["sh", "-c", shell], env=environment(), capture_output=True, timeout=60)
    assert finished.stdout == b"y\ny\n"
    assert b"Traceback" not in finished.stderr


@EMBEDDED
def test_invalid_usage_exits_with_2_and_one_sentence(
    url: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    good = job_folder(tmp_path / "good", "echo")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("not a zip")
    with zipfile.ZipFile(tmp_path / "deep.zip", "w") as archive:
        archive.writestr("folder/executor_config.json", "{}")
    bad = {name: tmp_path / name for name in ("json", "list", "pipe", "out", "utf")}
    for folder in bad.values():
        job_folder(folder, "echo")
    (bad["json"] / "executor_config.json").write_text('{"cmd": ')
    (bad["list"] / "executor_config.json").write_text("[]")
    os.mkfifo(bad["pipe"] / "fifo")
    (bad["out"] / "link").symlink_to("../good/executor_config.json")
    Path(os.fsdecode(bytes(bad["utf"]) + b"/caf\xe9")).touch()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        unreachable = f"http://127.0.0.1:{closed.getsockname()[1]}"
    cases: list[tuple[list[str | Path], str]] = [
        ([tmp_path / "missing"], "does not exist"),
        ([tmp_path / "empty"], "empty has no executor_config.json at its top level: "),
        ([tmp_path / "file"], "neither a folder nor a readable zip"),
        (
            [tmp_path / "deep.zip"],
            "deep.zip has no executor_config.json at its top level, but one in the folder 'folder': ",
        ),
        ([bad["json"]], "executor_config.json: Invalid JSON"),
        ([bad["list"]], "must be a JSON object"),
        ([bad["pipe"]], "fifo is a device, a pipe, or a socket"),
        ([bad["out"]], "link is a link that leads out of the folder"),
        ([bad["utf"]], "caf\\xe9 is not valid UTF-8"),
        ([], "Missing argument"),
        ([good, "--nonsense"], "--nonsense"),
        ([good, "--out", tmp_path / "file"], "file"),
        ([good, "--out", "/proc/results"], "/proc/results"),
        ([good, "--url", unreachable], f"The server at {unreachable} cannot be reached: start one with `executor up`"),
        ([good, "--url", "127.0.0.1:8888"], "such as http://"),
        ([good, "--url", "http://[::1"], "such as http://"),
    ]
    for arguments, sentence in cases:
        chosen = [] if "--url" in arguments else ["--url", url]
        # In this process: each program would take half a second to start.
        code = run_command(["run", *map(str, (*arguments, *chosen))])
        written = capfdbinary.readouterr()
        assert (code, written.out) == (2, b""), (arguments, written)
        last = lines(written.err)[-1]
        assert last.startswith("Error: "), written.err
        assert sentence in last
        assert len([line for line in lines(written.err) if not line.startswith("Uploading ")]) == 1


def test_a_missing_or_unknown_command_exits_with_2(tmp_path: Path) -> None:
    alone = run()
    assert (alone.returncode, alone.stdout) == (2, b"")
    assert re.search(rb"\n  run +Run a folder, a zip, or a command", alone.stderr)
    assert re.search(rb"\n  up +Start the local stack", alone.stderr)
    assert run("fly").returncode == 2
    assert run("--help").returncode == 0
    assert run("--version").stdout.decode() == f"Cloud Executor {VERSION}\n"


def requirements_of(package: str) -> set[str]:
    """A package and all its dependencies, without extras."""
    found = {package}
    for line in importlib.metadata.requires(package) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found |= requirements_of(requirement.name)
    return found


@pytest.fixture
def client_alone(tmp_path: Path) -> dict[str, str]:
    """An environment where Python finds the client and its dependencies, but no server package."""
    site = tmp_path / "site"
    site.mkdir()
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    for package in set().union(*(requirements_of(Requirement(line).name) for line in declared)):
        distribution = importlib.metadata.distribution(package)
        for top in {file.parts[0] for file in distribution.files or ()} - {".."}:
            (site / top).symlink_to(str(distribution.locate_file(top)))
    shutil.copytree(PROJECT / "cloud_executor", site / "cloud_executor")
    return {**environment(), "PYTHONPATH": str(site)}


@EMBEDDED
def test_the_client_needs_no_server_packages(client_alone: dict[str, str], url: str, tmp_path: Path) -> None:
    python = [sys.executable, "-S", "-P", "-m", "cloud_executor.cli.main"]
    without = subprocess.run(
        [*python, "up"], env=client_alone, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (without.returncode, without.stdout) == (2, "")
    assert without.stderr == (
        "Error: `executor up` needs the server, which is not installed. "
        f"Run: {sys.executable} -m pip install 'cloud-executor[server]'\n"
    )
    folder = job_folder(tmp_path / "job", "echo from the client alone")
    finished = subprocess.run([*python, "run", folder, "--url", url], env=client_alone, capture_output=True, timeout=60)
    assert (finished.returncode, finished.stdout) == (0, b"from the client alone\n")


@EMBEDDED
def test_the_client_leaves_checks_of_config_details_to_the_server(url: str, tmp_path: Path) -> None:
    folder = job_folder(tmp_path / "detail", "echo")
    config = json.loads((folder / "executor_config.json").read_text())
    (folder / "executor_config.json").write_text(json.dumps({**config, "cmd": "no-such-program-anywhere"}))
    finished = run("run", folder, "--url", url)
    assert finished.returncode == 1
    assert lines(finished.stderr)[-1] == "FAILED_TO_EXECUTE: The command 'no-such-program-anywhere' was not found."
