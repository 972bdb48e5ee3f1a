"""Which processes the process sandbox ends: all that a command started, and no others."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sandbox_bench import Bench
from worker_harness import Stack, is_running, parent_of, until

from worker_vm.worker.attempt import Interruption
from worker_vm.worker.sandbox.process.command_watch import CommandWatch
from worker_vm.worker.sandbox.process.sandbox import ProcessSandbox
from worker_vm.worker.sandbox.process.supervisor import Supervisor, idle_supervisors

WAITS = "touch ready; until test -e go; do sleep 0.02; done"
# A daemon that leaves the command's session, environment, folder, and parent.
HIDES = "(cd / && env -i setsid sh -c 'echo $$ >&3; sleep 60 & echo $! >&3; wait' 3> {pids} &); "
HIDES += 'until test "$(wc -l < {pids})" = 2; do sleep 0.02; done'


@pytest.fixture
def sandbox() -> ProcessSandbox:
    return ProcessSandbox()


@pytest.fixture
def new_supervisors() -> None:
    """No supervisor of an earlier test is reused."""
    idle_supervisors.close()


@contextmanager
def unrelated_child() -> Iterator[subprocess.Popen[bytes]]:
    """A child of this process, in a session of its own, with a child that is not in that session."""
    script = "setsid sleep 60 & echo $!; wait"
    with subprocess.Popen(["sh", "-c", script], start_new_session=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        grandchild = int(process.stdout.readline())
        try:
            yield process
            assert process.poll() is None
            assert is_running(grandchild)
        finally:
            process.kill()
            with suppress(ProcessLookupError):
                os.kill(grandchild, signal.SIGKILL)


def pids_in(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()]


def test_other_children_of_the_worker_outlive_a_command(bench: Bench) -> None:
    with ExitStack() as children:
        children.enter_context(unrelated_child())
        with bench.running(WAITS):
            until((bench.folder.job / "ready").exists)
            children.enter_context(unrelated_child())
            daemon = started_daemon()
            (bench.folder.job / "go").touch()
        assert is_running(daemon)
        os.kill(daemon, signal.SIGKILL)


def started_daemon() -> int:
    """A grandchild of this process, whose parent has ended."""
    done = subprocess.run(["sh", "-c", "setsid sleep 60 > /dev/null & echo $!"], check=True, stdout=subprocess.PIPE)
    return int(done.stdout)


@pytest.mark.parametrize("end", ["kill_all", "interrupt"])
def test_other_children_of_the_worker_outlive_a_killed_command(bench: Bench, end: str) -> None:
    with unrelated_child():
        with bench.running(f"trap '' INT TERM; {WAITS}") as ran:
            until((bench.folder.job / "ready").exists)
            if end == "kill_all":
                bench.sandbox.kill_all()
            else:
                bench.attempt.interrupt(Interruption.LOST)
        assert ran[0].ending.signal == signal.SIGKILL


def test_the_exit_code_of_another_child_is_kept(bench: Bench) -> None:
    with subprocess.Popen(["sh", "-c", "exit 7"], start_new_session=True) as process:
        until(lambda: not is_running(process.pid))
        bench.script("true")
        assert process.wait() == 7


def test_a_hidden_daemon_ends_with_its_command(bench: Bench, stack: Stack) -> None:
    """Even while another command runs."""
    pids = bench.stack.work / "pids"
    with Bench(stack, bench.sandbox) as other, other.running(WAITS) as ran:
        until((other.folder.job / "ready").exists)
        assert bench.script(HIDES.format(pids=pids)).ending.exit_code == 0
        hidden = pids_in(pids)
        assert len(hidden) == 2
        assert not any(map(is_running, hidden))
        (other.folder.job / "go").touch()
    assert ran[0].ending.exit_code == 0


def test_kill_all_ends_a_hidden_daemon(bench: Bench) -> None:
    pids = bench.stack.work / "pids"
    with bench.running(f"{HIDES.format(pids=pids)}; touch ready; sleep 60") as ran:
        until((bench.folder.job / "ready").exists)
        bench.sandbox.kill_all()
        hidden = pids_in(pids)
        assert len(hidden) == 2
        assert not any(map(is_running, hidden))
    assert ran[0].ending.signal == signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_command_that_attacks_its_supervisor_is_killed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr("worker_vm.worker.sandbox.process.supervisor.END_SECONDS", 0.5)
    monkeypatch.setattr("worker_vm.worker.sandbox.process.command_watch.KILL_SECONDS", 0.1)
    pids = bench.stack.work / "pids"
    script = f"echo $$ > {pids}; setsid sleep 60 & echo $! >> {pids}; touch ready; sleep 60"
    with bench.running(script) as ran:
        until((bench.folder.job / "ready").exists)
        os.kill(parent_of(pids_in(pids)[0]), number)
        if number == signal.SIGSTOP:
            bench.attempt.interrupt(Interruption.LOST)
    assert ran[0].ending.signal == signal.SIGKILL
    until(lambda: not any(map(is_running, pids_in(pids))))
    with Bench(bench.stack, bench.sandbox) as following:
        assert following.script("echo fine").stdout == b"fine\n"


@pytest.mark.usefixtures("new_supervisors")
def test_commands_start_with_default_signal_dispositions(bench: Bench) -> None:
    numbers = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    mask = signal.pthread_sigmask(signal.SIG_SETMASK, numbers)
    try:
        status = bench.run("grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status").stdout.decode()
        codes = [bench.script(script).ending.exit_code for script in ("exit 7", "sh -c 'kill -9 $$'; exit $?")]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
    settable = sum(1 << number - 1 for number in numbers)  # the C library keeps some signals to itself
    assert [int(line.split()[1], 16) & settable for line in status.splitlines()] == [0, 0]
    assert codes == [7, 128 + signal.SIGKILL]


def test_idle_supervisors_are_reused(bench: Bench) -> None:
    def supervisor() -> int:
        return int(bench.script("echo $PPID").stdout)

    assert supervisor() == supervisor()


def test_a_command_that_ended_while_it_was_started_is_not_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, poll = Supervisor.start, CommandWatch._poll

    def start_and_end(supervisor: Supervisor, *arguments: Any, **named: Any) -> None:
        start(supervisor, *arguments, **named)
        while not supervisor.alone:
            supervisor.receive()

    def poll_while_it_runs(watch: CommandWatch, descriptors: list[int], seconds: float) -> None:
        assert not watch._has_ended(), "the wait would last until the next check of the limits"
        poll(watch, descriptors, seconds)

    monkeypatch.setattr(Supervisor, "start", start_and_end)
    monkeypatch.setattr(CommandWatch, "_poll", poll_while_it_runs)
    assert bench.run("true").ending.exit_code == 0
