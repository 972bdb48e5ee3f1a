"""Tests of the container sandbox."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from containers.docker_engine import IMAGE
from sandbox_bench import Bench
from worker_harness import PROJECT, Stack, until

from cloud_executor.errors import Unavailable
from cloud_executor.model.jobs.job import Status
from cloud_executor.model.jobs.pool import WorkerPool
from cloud_executor.settings import InvalidSetting
from worker_vm.worker.attempt import Interruption
from worker_vm.worker.main import open_sandbox
from worker_vm.worker.sandbox.command_output import CommandOutput
from worker_vm.worker.sandbox.container.engine import FOLDER_LABEL
from worker_vm.worker.sandbox.container.output import READ_BYTES, ContainerOutput
from worker_vm.worker.sandbox.container.sandbox import ContainerSandbox
from worker_vm.worker.sandbox.interface import Command, CommandNotStarted, Sandbox
from worker_vm.worker.work_folder import AttemptFolder


def test_a_command_is_unprivileged_and_cannot_change_its_user(container_bench: Bench) -> None:
    status = container_bench.run("cat", "/proc/self/status").stdout.decode()
    found = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert 0 not in map(int, found["Uid"].split() + found["Gid"].split())
    assert {int(found[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")


def test_only_the_jobs_folder_and_the_temporary_folder_are_writable(container_bench: Bench) -> None:
    script = 'for f in / /bin /etc /proc /sys; do touch $f/x 2> /dev/null && echo "$f"; done; touch /job/x /tmp/x'
    ran = container_bench.script(script)
    assert (ran.ending.exit_code, ran.stdout) == (0, b"")


def test_the_machine_is_not_visible(container_bench: Bench) -> None:
    script = "ls /; ls /proc | grep -c '^[0-9]*$'; find / -xdev -name '*.sock'; cut -d: -f1 /proc/net/dev | tail -n +3"
    lines = container_bench.script(script).stdout.decode().split()
    assert set(lines[:-2]) == {
        "bin",
        "dev",
        "etc",
        "home",
        "job",
        "proc",
        "sbin",
        "sys",
        "tmp",
    }  # The init process is in sbin.
    assert int(lines[-2]) < 10
    assert lines[-1] == "lo"


def test_results_belong_to_an_unprivileged_user_and_can_be_removed(container_bench: Bench) -> None:
    container_bench.script("mkdir -m 700 made; echo x > made/file; chmod 0 made/file")
    made = container_bench.folder.job / "made"
    if os.geteuid() == 0:
        assert made.stat().st_uid != 0
    assert (made / "file").read_text() == "x\n"


def test_a_cpu_limit_above_the_number_of_cores_means_all_cores(container_bench: Bench) -> None:
    container_bench.limits = replace(container_bench.limits, cpus=10_000.0)
    assert container_bench.script("exit 3").ending.exit_code == 3


def test_a_command_that_exceeds_its_memory_limit(container_bench: Bench) -> None:
    ending = container_bench.script("x=x; while :; do x=$x$x; done").ending
    assert ending.exceeded == "The command used more than 64 MiB of memory."


def test_peak_memory_is_known_if_it_was_sampled(container_bench: Bench) -> None:
    ending = container_bench.script("head -c 31457280 /dev/zero > /tmp/x; sleep 2.5").ending
    assert ending.peak_memory_mib is not None
    assert 30 <= ending.peak_memory_mib <= 64
    assert container_bench.script("true").ending.peak_memory_mib is None


def test_the_temporary_folder_counts_as_memory(container_bench: Bench) -> None:
    ran = container_bench.script("for i in 1 2 3 4 5; do head -c 20000000 /dev/zero > /tmp/$i || exit 7; done")
    assert ran.ending.exceeded == "The command used more than 64 MiB of memory." or ran.ending.exit_code == 7


def test_a_command_that_exceeds_its_process_limit(container_bench: Bench) -> None:
    """A fork bomb only affects its container, and a cancel ends it."""
    with container_bench.running("bomb() { bomb | bomb & }; touch ready; bomb; while :; do sleep 0.1; done") as ran:
        until((container_bench.folder.job / "ready").exists)
        until(lambda: b"fork" in (container_bench.folder.root / "job_stderr.txt").read_bytes())
        container_bench.attempt.interrupt(Interruption.CANCELED)
    assert ran[0].ending.interrupted


def test_a_missing_image_that_cannot_be_pulled(
    container_bench: Bench, containers: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker_vm.worker.retry.retry_while_unavailable.__defaults__", (0.5,))
    container_bench.sandbox = containers(image="127.0.0.1:9/no/such:image")
    with pytest.raises(Unavailable) as raised:
        container_bench.script("true")
    error = "The image '127.0.0.1:9/no/such:image' could not be pulled: its registry cannot be reached."
    assert str(raised.value) == error


def test_a_command_can_choose_another_image(
    engine: docker.APIClient, container_bench: Bench, containers: Callable[..., Sandbox]
) -> None:
    container_bench.sandbox = containers(image="127.0.0.1:9/no/such:image")
    container_bench.image = IMAGE
    assert container_bench.script("echo ran").stdout == b"ran\n"


@pytest.mark.parametrize(
    "image", ["Not An Image", "a@sha256:0", "a@md5:" + 64 * "0", "a" * 300, "https://gcr.io/a", "a:"]
)
def test_an_invalid_image_name(container_bench: Bench, containers: Callable[..., Sandbox], image: str) -> None:
    container_bench.sandbox = containers(image=image)
    with pytest.raises(CommandNotStarted, match="could not be pulled: the image name is invalid"):
        container_bench.script("true")


def test_settings_of_the_image_are_ignored(
    engine: docker.APIClient, container_bench: Bench, containers: Callable[..., Sandbox]
) -> None:
    """This applies to its entry point, user, folder, and health check, but not its environment."""
    made = engine.create_container(IMAGE, command="true")["Id"]
    changes = ['ENTRYPOINT ["false"]', 'CMD ["x"]', "USER 0", "WORKDIR /etc", "ENV GREETING=hello", "VOLUME /data"]
    engine.commit(made, "cloud-executor-tests", "odd", changes=changes)
    engine.remove_container(made)
    container_bench.sandbox = containers(image="cloud-executor-tests:odd")
    ran = container_bench.script('echo "$GREETING $PWD $(id -u)"')
    assert ran.stdout.split()[:2] == [b"hello", b"/job"]
    assert ran.stdout.split()[2] != b"0"
    assert not (engine.volumes()["Volumes"] or [])


def test_a_missing_engine_does_not_fail_the_job(
    container_bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, containers: Callable[..., Sandbox]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(Unavailable):
        containers()


def test_removing_the_container_ends_the_command(engine: docker.APIClient, container_bench: Bench) -> None:
    with container_bench.running("touch ready; sleep 60") as ran:
        until((container_bench.folder.job / "ready").exists)
        (container,) = until(engine.containers)
        engine.remove_container(container["Id"], force=True)
    assert ran[0].ending.signal is not None


def test_containers_whose_folders_are_gone_are_removed(
    engine: docker.APIClient, container_bench: Bench, tmp_path: Path
) -> None:
    sandbox = container_bench.sandbox
    assert isinstance(sandbox, ContainerSandbox)
    work = container_bench.stack.work
    stray, others = (
        engine.create_container(IMAGE, "sleep 60", labels={FOLDER_LABEL: str(folder)})["Id"]
        for folder in (work / "attempt-gone", tmp_path / "other/attempt-gone")
    )
    sandbox.end_strays(work)
    left = [container["Id"] for container in engine.containers(all=True)]
    engine.remove_container(others)
    assert (stray in left, others in left) == (False, True)


def test_slots_run_in_parallel(container_bench: Bench, containers: Callable[..., Sandbox]) -> None:
    sandbox = container_bench.sandbox
    outputs: list[bytes] = []
    with Bench(container_bench.stack, sandbox) as second:
        # Each one waits for the other.
        def work(mine: Bench) -> None:
            outputs.append(mine.script("touch here; until test -e go; do sleep 0.02; done; echo done").stdout)

        threads = [threading.Thread(target=work, args=(each,)) for each in (container_bench, second)]
        for thread in threads:
            thread.start()
        for each in (container_bench, second):
            until((each.folder.job / "here").exists)
        for each in (container_bench, second):
            (each.folder.job / "go").touch()
        for thread in threads:
            thread.join(30)
    assert outputs == [b"done\n", b"done\n"]


def test_the_worker_program_runs_jobs_in_containers(stack: Stack, engine: docker.APIClient) -> None:
    job = stack.add_script("echo hello; id -u; echo made > made.txt", outputInterval=10)
    with stack.program(EXECUTOR_SANDBOX="container", EXECUTOR_IMAGE=IMAGE):
        stack.finished(job)
    assert (stack.get(job).status, stack.get(job).error) == (Status.SUCCESS, None)
    results = stack.results(job)
    assert results["job_stdout.txt"].startswith(b"hello\n") and results["made.txt"] == b"made\n"
    assert "".join(text for _, text in stack.output(job)).startswith("hello\n")


def test_a_job_can_choose_an_image_and_limits_that_the_pool_allows(tmp_path: Path, engine: docker.APIClient) -> None:
    engine.tag(IMAGE, "chosen/busybox", "1")
    pools = '[{"name": "default", "image": "127.0.0.1:9/no/such:image", "images": ["chosen/*"], "memoryMiB": 64}]'
    stack = Stack(tmp_path, EXECUTOR_SANDBOX="container", EXECUTOR_POOLS=pools)
    fills = "x=x; while :; do x=$x$x; done"
    jobs = [
        stack.add_script("echo ran", image="chosen/busybox:1"),
        stack.add_script("echo ran", image=IMAGE),
        stack.add_script(fills, image="chosen/busybox:1", resources={"memoryMiB": 32}),
    ]
    with stack.program():
        ran, refused, filled = map(stack.finished, jobs)
    assert (ran.status, ran.error) == (Status.SUCCESS, None)
    assert refused.status == Status.FAILED_EXECUTOR_CONFIG
    assert refused.error == f"executor_config.json: the worker pool default does not allow the image {IMAGE}."
    assert (filled.status, filled.error) == (
        Status.FAILED_TO_EXECUTE,
        "The command used more than 32 MiB of memory.",
    )


def test_a_killed_workers_container_is_removed_by_the_next_worker(stack: Stack, engine: docker.APIClient) -> None:
    stack.add_script("touch ready; sleep 600")
    environment = {"EXECUTOR_SANDBOX": "container", "EXECUTOR_IMAGE": IMAGE}
    with stack.program(**environment) as program:
        until(lambda: list(stack.work.glob("*/job/ready")))
        (before,) = [container["Id"] for container in until(engine.containers)]
        program.process.kill()
        program.wait()
    with stack.program(**environment):
        until(lambda: before not in [container["Id"] for container in engine.containers(all=True)])


def test_a_worker_without_an_engine_reports_an_error(stack: Stack, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "worker_vm.worker.main", "--work", str(stack.work)],
        cwd=PROJECT,
        env={
            **os.environ,
            "EXECUTOR_DATA": str(stack.data),
            "EXECUTOR_SANDBOX": "container",
            "EXECUTOR_IMAGE": IMAGE,
            "DOCKER_HOST": f"unix://{tmp_path}/none.sock",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2
    assert "The container engine does not" in result.stderr


@pytest.mark.parametrize("cut", [1, 3, 8, 9, 1000])
def test_standard_output_and_error_are_demultiplexed_for_every_chunk_size(tmp_path: Path, cut: int) -> None:
    frames = [(1, b"out"), (2, b"err"), (1, b""), (1, b"x" * 300), (2, b"\x01\0\0\0\0\0\0\x05")]
    raw = b"".join(bytes([kind, 0, 0, 0]) + len(content).to_bytes(4, "big") + content for kind, content in frames)
    outputs, _ = demultiplexed(tmp_path, (raw[start : start + cut] for start in range(0, len(raw), cut)))
    assert outputs == [b"out" + b"x" * 300, b"err\x01\0\0\0\0\0\0\x05"]


def test_a_large_frame_is_moved_in_small_chunks(tmp_path: Path) -> None:
    content = bytes(10 * 2**20)
    outputs, sizes = demultiplexed(tmp_path, [b"\x01\0\0\0" + len(content).to_bytes(4, "big"), content])
    assert outputs == [content, b""]
    assert max(sizes) <= READ_BYTES


def test_a_frame_that_never_ends_keeps_its_beginning(tmp_path: Path) -> None:
    outputs, _ = demultiplexed(tmp_path, [b"\x01\0\0\0\xff\xff\xff\xff", b"beginning"])
    assert outputs == [b"beginning", b""]


def demultiplexed(folder: Path, chunks: Iterable[bytes]) -> tuple[list[bytes], list[int]]:
    """Send the engine's stream. Returns standard output, standard error, and the sizes of the reported chunks."""
    ours, engines = socket.socketpair()
    sizes: list[int] = []
    paths = [folder / "stdout", folder / "stderr"]
    with ExitStack() as stack:
        stdout, stderr = (stack.enter_context(path.open("wb")).fileno() for path in paths)
        stack.enter_context(ours)
        command = Command("unused", (), AttemptFolder(folder), "", stdout, stderr)
        written = CommandOutput(command, lambda chunk: sizes.append(len(chunk)))
        output = stack.enter_context(ContainerOutput(ours, written))
        with engines:
            for chunk in chunks:
                engines.sendall(chunk)
        assert select.select([output], [], [], 30)[0]
    return [path.read_bytes() for path in paths], sizes


def test_the_machine_ends_commands_first_if_memory_is_short(container_bench: Bench) -> None:
    assert container_bench.run("cat", "/proc/self/oom_score_adj").stdout == b"500\n"


def test_a_pool_chooses_the_runtime(tmp_path: Path, engine: docker.APIClient) -> None:
    pool = WorkerPool("p", image=IMAGE, runtime="runc")
    with Bench(Stack(tmp_path), open_sandbox(pool, tmp_path / "work")) as bench:
        with bench.running("until [ -e stop ]; do sleep 0.05; done") as ran:
            (container,) = [found["Id"] for found in until(engine.containers)]
            assert engine.inspect_container(container)["HostConfig"]["Runtime"] == "runc"
            (bench.folder.job / "stop").touch()
        assert ran[0].ending.exit_code == 0
    with pytest.raises(InvalidSetting, match=r"runtime of the worker pool p is runsc, but .* only .*runc.*: install"):
        open_sandbox(replace(pool, runtime="runsc"), tmp_path / "work")
