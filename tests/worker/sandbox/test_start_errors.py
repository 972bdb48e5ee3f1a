"""Commands that cannot be started, and what the job's owner should do."""

from __future__ import annotations

import os
import platform
import re

import pytest
from sandbox_bench import Bench

from worker_vm.worker.sandbox.interface import Command, CommandNotStarted
from worker_vm.worker.sandbox.start_errors import LONGEST_ARGUMENT_BYTES, hint_after_exit

OTHER_MACHINE = 62 if platform.machine() == "aarch64" else 183
OTHER_NAME = "x86-64" if platform.machine() == "aarch64" else "AArch64"


def elf(machine: int, order: str = "little") -> bytes:
    """The header of a 64-bit program for a machine."""
    code = 1 if order == "little" else 2
    kind, number, version = (2).to_bytes(2, order), machine.to_bytes(2, order), (1).to_bytes(4, order)  # type: ignore[arg-type]
    return b"\x7fELF\x02" + bytes([code, 1]) + bytes(9) + kind + number + version + bytes(40)


FOREIGN = {
    "arm": (elf(OTHER_MACHINE), f"a program for {OTHER_NAME}"),
    "s390": (elf(22, "big"), "a program for S/390"),
    "rare": (elf(999), "a program for machine 999"),
    "exe": (b"MZ\x90\0\x03\0\0\0", "a program for Windows"),
    "mac": (bytes.fromhex("cffaedfe0c000001000000000200000010000000"), "a program for macOS"),
    "data": (b"\x00\x01\x02", "not a program for the worker's machine"),
}


def put(bench: Bench, name: str, content: bytes, mode: int = 0o755) -> None:
    path = bench.folder.job / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def command_of(bench: Bench, *command: str) -> Command:
    return Command(command[0], command[1:], bench.folder, "", 1, 2)


def error_of(bench: Bench, program: str, *args: str) -> str:
    with pytest.raises(CommandNotStarted) as raised:
        bench.run(program, *args)
    return str(raised.value)


@pytest.mark.parametrize(
    ("line", "args", "hint"),
    [
        ("python3 a.py", (), 'Its arguments belong in args: "cmd": "python3", "args": ["a.py"].'),
        ("./run.sh -x  1", ("2",), 'Its arguments belong in args: "cmd": "./run.sh", "args": ["-x", "1", "2"].'),
        ("make && ./a", (), 'A shell can run it: "cmd": "sh", "args": ["-c", "make && ./a"].'),
        ("echo 'a b' > c", ("d",), 'A shell can run it: "cmd": "sh", "args": ["-c", "echo \'a b\' > c", "sh", "d"].'),
        ("long " * 60, (), '"cmd" is only the program: its arguments belong in "args", or use "cmd": "sh", '),
    ],
)
def test_a_whole_command_line(bench: Bench, line: str, args: tuple[str, ...], hint: str) -> None:
    put(bench, "run.sh", b"#!/bin/sh\n")
    found = error_of(bench, line, *args)
    assert " was not found. " in found
    assert hint in found


@pytest.mark.parametrize("name", ["run.sh", "run it.sh"])
def test_a_file_of_the_job_without_its_folder(bench: Bench, name: str) -> None:
    put(bench, name, b"#!/bin/sh\n")
    expected = f'The command \'{name}\' was not found. To run the file in the job\'s folder, write "cmd": "./{name}".'
    assert error_of(bench, name) == expected


@pytest.mark.parametrize(
    ("program", "near"),
    [("./Run.sh", "./run.sh"), ("run.hs", "run.sh"), ("./bin/tol", "./bin/tool")],
)
def test_a_similar_name(bench: Bench, program: str, near: str) -> None:
    put(bench, "run.sh", b"#!/bin/sh\n")
    put(bench, "bin/tool", b"#!/bin/sh\n")
    assert error_of(bench, program) == f"The command '{program}' was not found. The job's folder has '{near}'."


def test_a_script_with_windows_line_ends(bench: Bench) -> None:
    put(bench, "run.sh", b"#!/bin/sh\r\necho hi\r\n")
    expected = "could not be started: it has Windows line endings (CR LF); convert them to LF."
    assert error_of(bench, "./run.sh") == f"The command './run.sh' {expected}"


@pytest.mark.parametrize(
    ("content", "command"),
    [
        (b"#!/usr/bin/env sh\r\n", ("./run.sh",)),
        (b"set -e\r\necho x\r\nexit 2\r\n", ("sh", "run.sh")),
        (b"set -e\r\nexit 2\r\n", ("sh", "-e", "run.sh")),
    ],
)
def test_a_script_with_windows_line_ends_that_its_interpreter_rejects(
    bench: Bench, content: bytes, command: tuple[str, ...]
) -> None:
    put(bench, "run.sh", content)
    if bench.image is None and command[0] != "sh" and not os.path.exists("/usr/bin/env"):
        pytest.skip("This machine has no /usr/bin/env.")
    try:
        ran = bench.run(*command)
    except CommandNotStarted as error:  # an image without /usr/bin/env
        assert "CR LF" in str(error)
    else:
        found = hint_after_exit(command_of(bench, *command), ran.ending)
        assert found == " The file 'run.sh' has Windows line endings (CR LF): convert them to LF.".replace(
            "run.sh", command[-1]
        )


def test_a_missing_interpreter_is_named(bench: Bench) -> None:
    put(bench, "run.r", b"#! /no/such/Rscript --vanilla\n")
    expected = "could not be started: its interpreter '/no/such/Rscript' was not found."
    assert error_of(bench, "./run.r") == f"The command './run.r' {expected}"


def test_a_missing_executable_bit(bench: Bench) -> None:
    put(bench, "run.sh", b"#!/bin/sh\n", 0o644)
    assert error_of(bench, "./run.sh") == (
        "The command './run.sh' is not executable. Run chmod +x './run.sh' before you pack the job, or name an "
        "interpreter as cmd and the file in args."
    )
    (bench.folder.job / "bin").mkdir()
    assert error_of(bench, "./bin") == "The command './bin' is not executable."


@pytest.mark.parametrize("name", FOREIGN)
def test_a_program_for_another_machine(bench: Bench, name: str) -> None:
    content, sentence = FOREIGN[name]
    put(bench, name, content)
    try:
        ran = bench.run(f"./{name}")
    except CommandNotStarted as error:
        found = str(error)
    else:  # the init process of a container passes the file to a shell
        found = hint_after_exit(command_of(bench, f"./{name}"), ran.ending)
        if name == "data" and ran.ending.exit_code:
            return
    assert sentence in found
    assert found.endswith(f"({platform.machine()}).") or name == "data"


def test_a_long_argument(bench: Bench) -> None:
    longest = "x" * LONGEST_ARGUMENT_BYTES
    assert bench.run("true", longest).ending.exit_code == 0
    found = error_of(bench, "true", "a", longest + "x")
    assert re.search(r"args\[1\] has 131,072 bytes, and Linux accepts up to 131,071 per argument", found)
    bench.env = {"DATA": longest}
    assert "env.DATA has 131,076 bytes" in error_of(bench, "true")


def test_arguments_that_are_too_long_in_total(bench: Bench) -> None:
    assert "too large in total" in error_of(bench, "true", *["x" * 100_000] * 70)


def test_a_link_that_the_job_made_is_not_followed(bench: Bench) -> None:
    (bench.folder.job / "run.sh").write_text("#!/bin/sh\nexit 2\n")
    (bench.folder.job / "run.sh").chmod(0o755)
    ran = bench.run("./run.sh")
    (bench.folder.root / "outside").write_bytes(b"MZ\r\n")
    (bench.folder.job / "run.sh").unlink()
    (bench.folder.job / "run.sh").symlink_to("../outside")
    assert hint_after_exit(command_of(bench, "./run.sh"), ran.ending) == ""


def test_no_hint_for_an_exit_code_of_the_command_itself(bench: Bench) -> None:
    ran = bench.script("exit 2")
    assert hint_after_exit(command_of(bench, "sh", "-c", "exit 2"), ran.ending) == ""
