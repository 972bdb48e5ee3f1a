"""Tests of commands that hold for every sandbox."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest
from sandbox_bench import Bench
from worker_harness import NOT_EXECUTABLE, until

from worker_vm.worker.attempt import Interruption
from worker_vm.worker.sandbox.interface import Command, CommandNotStarted


def test_standard_output_and_error_are_separate(bench: Bench) -> None:
    ran = bench.script("echo out; echo err >&2; exit 3")
    assert (ran.stdout, ran.stderr) == (b"out\n", b"err\n")
    assert (ran.ending.exit_code, ran.ending.signal, ran.ending.interrupted) == (3, None, False)
    assert (ran.ending.output_error, ran.ending.exceeded) == (None, None)


def test_output_streams_can_be_opened_again(bench: Bench) -> None:
    ran = bench.script("echo a; echo b > /dev/stdout; echo c >&2; echo d | tee /dev/stderr; echo e > /dev/stderr")
    assert (ran.stdout, ran.stderr) == (b"a\nb\nd\n", b"c\nd\ne\n")


def test_output_is_reported_after_it_is_written(bench: Bench) -> None:
    heard: list[bytes] = []
    ran = bench.script("head -c 300000 /dev/zero; echo end; echo err >&2", heard.append)
    assert b"".join(heard) == ran.stdout == bytes(300_000) + b"end\n"


def test_standard_input_is_empty(bench: Bench) -> None:
    assert bench.script("cat; echo end").stdout == b"end\n"


def test_arguments_are_passed_unchanged(bench: Bench) -> None:
    ran = bench.run("printf", "<%s>", "", "a b", "$HOME", "*", "ü\n", "--", "-x")
    assert ran.stdout.decode() == "<><a b><$HOME><*><ü\n><--><-x>"


def test_the_environment_is_not_the_workers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "secret")
    found = dict(line.split("=", 1) for line in bench.run("env").stdout.decode().splitlines())
    assert found["ORIGIN_URL"] == "http://origin.example:1"
    assert found["HOME"] and found["TMPDIR"] and found["PATH"]
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in found


def test_the_user_and_the_private_home_are_known(bench: Bench) -> None:
    ran = bench.script(
        'test "$(whoami)" = "$USER" && test "$USER" = "$LOGNAME" && echo "$SHELL $PYTHONUNBUFFERED $(stat -c %a ~)"; '
        "echo kept > ~/file; cat ~/file; ls"
    )
    assert (ran.stdout, ran.stderr) == (b"/bin/sh 1 700\nkept\n", b"")
    assert (bench.folder.home / "file").read_bytes() == b"kept\n"


def test_a_job_can_add_to_the_environment_but_not_replace_its_origin_url(bench: Bench) -> None:
    bench.env = {"ADDED": "a b=\u00fc", "HOME": "/elsewhere", "ORIGIN_URL": "x"}
    found = dict(line.split("=", 1) for line in bench.run("env").stdout.decode().splitlines())
    assert (found["ADDED"], found["HOME"]) == ("a b=\u00fc", "/elsewhere")
    assert found["ORIGIN_URL"] == "http://origin.example:1"


def test_a_command_starts_in_its_folder_and_can_change_everything_in_it(bench: Bench) -> None:
    (bench.folder.job / "given").mkdir()
    (bench.folder.job / "given/file").write_text("before")
    ran = bench.script('echo after > given/file && mkdir made && echo x > made/file && ls && touch "$TMPDIR/t"')
    assert ran.ending.exit_code == 0, ran.stderr
    assert ran.stdout.split() == [b"given", b"made"]
    assert (bench.folder.job / "given/file").read_text() == "after\n"


def test_the_jobs_own_programs_run_with_and_without_a_shebang_line(bench: Bench) -> None:
    for name, line in (("a.sh", "#!/bin/sh\n"), ("b.sh", "")):
        program = bench.folder.job / name
        program.write_text(f'{line}echo "$0 $1"\n')
        program.chmod(0o755)
        ran = bench.run(f"./{name}", "x")
        assert ran.stdout == f"./{name} x\n".encode()


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("no-such-command", "The command 'no-such-command' was not found."),
        ("./no-such-file", "The command './no-such-file' was not found."),
        ("./plain", NOT_EXECUTABLE.format("./plain")),
        ("./lost.sh", "The command './lost.sh' could not be started: its interpreter '/no/such/shell' was not found."),
        ("./lost.sh/x", "The command './lost.sh/x' was not found."),
        (".", "The command '.' is not executable."),
    ],
)
def test_a_command_that_cannot_be_started_raises_an_error(bench: Bench, program: str, sentence: str) -> None:
    (bench.folder.job / "plain").write_text("")
    lost = bench.folder.job / "lost.sh"
    lost.write_text("#!/no/such/shell\n")
    lost.chmod(0o755)
    with pytest.raises(CommandNotStarted) as raised:
        bench.run(program)
    assert str(raised.value) == sentence
    assert (bench.folder.root / "job_stderr.txt").read_bytes() == b""


@pytest.mark.parametrize("code", [1, 126, 127])
def test_exit_codes_that_shells_use_for_missing_commands_are_kept(bench: Bench, code: int) -> None:
    assert bench.script(f"echo no >&2; exit {code}").ending.exit_code == code
    assert bench.script(f"exit {code}").ending.exit_code == code


def test_too_many_arguments(bench: Bench) -> None:
    with pytest.raises(CommandNotStarted, match=r"could not be started: args\[0\] has 200,000 bytes"):
        bench.run("true", "x" * 200_000)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, 40])
def test_a_command_that_a_signal_ends(bench: Bench, number: int) -> None:
    ending = bench.script(f"kill -{int(number)} $$").ending
    assert (ending.exit_code, ending.signal, ending.exceeded) == (None, number, None)


def test_output_that_cannot_be_written_stops_the_command(bench: Bench) -> None:
    with open("/dev/full", "wb") as full:
        command = Command("sh", ("-c", "echo x; sleep 60"), bench.folder, "", full.fileno(), full.fileno())
        ending = bench.sandbox.run(command, bench.attempt, lambda chunk: None)
    assert (ending.output_error, ending.interrupted) == ("no space left on device", False)


# Time ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may need seconds to deliver a signal into a container."""
    monkeypatch.setattr("worker_vm.worker.sandbox.stop_sequence.INTERRUPT_SECONDS", 60.0)


@pytest.mark.usefixtures("patient")
def test_a_command_that_exceeds_its_time_limit_is_interrupted(bench: Bench) -> None:
    bench.limits = replace(bench.limits, seconds=3)
    ending = bench.script("trap 'echo heard > heard; exit 0' INT; while :; do sleep 0.1; done").ending
    assert (ending.exit_code, ending.interrupted) == (0, False)
    assert ending.exceeded == "The command ran longer than 3 seconds."
    assert (bench.folder.job / "heard").exists()


def test_a_command_that_exceeds_its_time_limit_and_ignores_signals_is_killed(bench: Bench) -> None:
    bench.limits = replace(bench.limits, seconds=3)
    ending = bench.script("trap '' INT TERM; while :; do sleep 0.1; done").ending
    assert (ending.signal, ending.interrupted) == (signal.SIGKILL, False)
    assert ending.exceeded == "The command ran longer than 3 seconds."


def test_a_command_within_its_time_limit_is_not_stopped(bench: Bench) -> None:
    bench.limits = replace(bench.limits, seconds=30)
    assert bench.script("sleep 0.7").ending.exceeded is None


# Interruption -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("reason", [Interruption.CANCELED, Interruption.RELEASED])
def test_a_command_and_its_children_are_interrupted(bench: Bench, reason: Interruption) -> None:
    script = "trap 'echo cleaned up; exit 5' INT; "
    script += "sh -c 'trap \"echo child > child; exit\" INT; touch ready; while :; do sleep 0.1; done'; sleep 60"
    with bench.running(script) as ran:
        until((bench.folder.job / "ready").exists)
        bench.attempt.interrupt(reason)
    (end,) = ran
    assert (end.ending.interrupted, end.ending.exit_code) == (True, 5)
    assert end.stdout == b"cleaned up\n"
    assert (bench.folder.job / "child").exists()


@pytest.mark.parametrize("ignored", ["", "INT", "INT TERM"])
def test_a_command_that_ignores_signals_is_ended(bench: Bench, ignored: str) -> None:
    with bench.running(f"trap '' {ignored}; touch ready; while :; do sleep 1; done") as ran:
        until((bench.folder.job / "ready").exists)
        bench.attempt.interrupt(Interruption.CANCELED)
    assert ran[0].ending.interrupted


def test_a_lost_job_is_killed_at_once(bench: Bench) -> None:
    with bench.running("trap 'echo heard' INT TERM; touch ready; while :; do sleep 0.1; done") as ran:
        until((bench.folder.job / "ready").exists)
        bench.attempt.interrupt(Interruption.LOST)
    assert (ran[0].ending.interrupted, ran[0].ending.signal, ran[0].stdout) == (True, signal.SIGKILL, b"")


def test_a_stopped_command_is_ended(bench: Bench) -> None:
    with bench.running("touch ready; kill -STOP $$") as ran:
        until((bench.folder.job / "ready").exists)
        bench.attempt.interrupt(Interruption.CANCELED)
    assert ran[0].ending.interrupted


def test_kill_all_ends_running_commands(bench: Bench) -> None:
    with bench.running("trap '' INT TERM; touch ready; while :; do sleep 0.1; done") as ran:
        until((bench.folder.job / "ready").exists)
        bench.sandbox.kill_all()
    assert (ran[0].ending.interrupted, ran[0].ending.signal) == (False, signal.SIGKILL)


def test_no_descriptor_is_left_open(bench: Bench) -> None:
    def held() -> list[str]:
        """Open descriptors, except sockets: the engine's client keeps some idle ones."""
        targets = []
        for descriptor in os.listdir("/proc/self/fd"):
            try:
                targets.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            except FileNotFoundError:
                continue
        return [target for target in targets if not target.startswith("socket:")]

    before = set(held())
    for script in ("echo x", "exit 3", "kill -9 $$", "sleep 60 & true"):
        bench.script(script)
        bench.script(script, lambda chunk: None)
    assert set(held()) - before == set()
