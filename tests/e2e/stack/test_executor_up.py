"""`executor up`: starting, supervising, and stopping the local stack."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from stack_process import (
    COMMAND,
    EMBEDDED,
    PROJECT,
    StackProcess,
    StartStack,
    asleep,
    job_folder,
    processes_of,
    run,
    signal_all,
    started,
    until,
)

from cloud_executor import JobInfo
from cloud_executor.errors import CloudExecutorError

LONG = "echo started; sleep 600"
TRACE = "0af7651916cd43dd8448eb211c80319c"


def start_job(stack: StackProcess, folder: Path, script: str = LONG) -> JobInfo:
    """Create a job and wait until it runs."""
    with stack.client as client:
        job = client.create_job(client.upload_folder(job_folder(folder, script)))
        until(lambda: client.job(job.hash).start_time)
    return job


def assert_no_process_is_left(stack: StackProcess) -> None:
    assert processes_of(stack.data) == {}


def assert_rejected(result: subprocess.CompletedProcess[bytes], *parts: str) -> None:
    assert (result.returncode, result.stdout) == (2, b"")
    sentence = result.stderr.decode()
    assert sentence.startswith("Error: ")
    assert sentence.count("\n") == 1, sentence
    for part in parts:
        assert part in sentence


@EMBEDDED
def test_it_prints_its_address_in_one_line(stack: StackProcess) -> None:
    hints = "Open it in a browser to see its jobs. Ctrl-C stops it."
    expected = f"Cloud Executor is ready at {stack.url} (2 slots, data in {stack.data}). {hints}\n"
    assert stack.ready_line == expected
    with stack.client as client:
        assert len(client.workers()) == 1


def test_a_sleep_of_the_machine_does_not_restart_a_job(start_stack: StartStack, tmp_path: Path) -> None:
    stack = start_stack("--slots", "1", EXECUTOR_LEASE="5")
    marker = tmp_path / "go"
    job = start_job(stack, tmp_path / "job", f"until test -e {marker}; do sleep 0.1; done")
    for _ in range(2):
        # A real sleep stops the jobs, too.
        with asleep(stack.data):
            time.sleep(7)
        time.sleep(6)
    marker.touch()
    with stack.client as client:
        until(lambda: client.job(job.hash).finished)
    document = httpx.get(f"{stack.url}/rest/executor/info/{job.hash}").json()
    assert (document["status"], document["attempt"]) == ("SUCCESS", 1)


def test_without_slots_there_is_no_worker(start_stack: StartStack) -> None:
    stack = start_stack("--slots", "0")
    assert "(no worker, " in stack.ready_line
    with stack.client as client:
        assert client.workers() == []


def test_each_configured_pool_has_a_worker(start_stack: StartStack, tmp_path: Path) -> None:
    pools = '[{"name": "plain", "slots": 2}, {"name": "special", "labels": ["gpu"], "slots": 1}]'
    stack = start_stack(EXECUTOR_POOLS=pools)
    assert "(3 slots in 2 pools, data in" in stack.ready_line
    with stack.client as client:
        workers = {worker.client_id: worker.labels for worker in client.workers()}
        assert {workers.pop(f"pool:{name}") for name in ("plain", "special")} == {(), ("gpu",)}
        jobs = [
            client.create_job(
                client.upload_folder(job_folder(tmp_path / label, f"echo {label}")), [label] * (label == "gpu")
            )
            for label in ("gpu", "none")
        ]
        taken = [until(lambda job=job: client.job(job.hash).finished and client.job(job.hash).worker) for job in jobs]
    assert [workers[worker] for worker in taken] == [("gpu",), ()]
    stack.stop()
    stack = start_stack("--slots", "2", EXECUTOR_POOLS=pools)
    assert "(4 slots in 2 pools, data in" in stack.ready_line


def test_it_logs_only_with_verbose(start_stack: StartStack, tmp_path: Path) -> None:
    stack = start_stack("--slots", "1")
    assert run("run", job_folder(tmp_path / "job", "echo"), "--url", stack.url).returncode == 0
    assert stack.stop() == 0
    assert stack.errors.read_text() == ""
    stack = start_stack("--slots", "1", "--verbose")
    assert stack.stop() == 0
    assert "worker started" in stack.errors.read_text()


@pytest.mark.parametrize(
    ("project", "field", "value"),
    [("", "trace", TRACE), ("my-project", "logging.googleapis.com/trace", f"projects/my-project/traces/{TRACE}")],
    ids=["no project", "a project"],
)
def test_every_line_about_a_job_has_the_trace_of_the_request_that_created_it(
    start_stack: StartStack, tmp_path: Path, project: str, field: str, value: str
) -> None:
    stack = start_stack("--slots", "1", "--verbose", EXECUTOR_PROJECT=project, GOOGLE_CLOUD_PROJECT="")
    with stack.client as client:
        job_hash = client.upload_folder(job_folder(tmp_path / "job", "exit 3"))
        untraced = client.upload_folder(job_folder(tmp_path / "other", "exit 4"))
        headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        httpx.post(f"{stack.url}/rest/executor/create/{job_hash}", headers=headers).raise_for_status()
        client.create_job(untraced)
        for job in (job_hash, untraced):
            assert client.wait(job, 30).status == "FAILED_TO_EXECUTE"
    assert stack.stop() == 0
    lines = [json.loads(line) for line in stack.errors.read_text().splitlines()]
    about = [line for line in lines if line.get("job_hash") == job_hash]
    # The worker can claim the job before the server has written its line.
    assert sorted((line["component"], line["action"]) for line in about) == [
        ("functions", "create"),
        ("worker", "claim"),
        ("worker", "finish"),
    ]
    assert [line for line in lines if line.get(field) == value] == about
    assert not any(line.keys() & {"trace", "logging.googleapis.com/trace"} for line in lines if line not in about)


def test_a_signal_stops_the_stack_and_its_jobs_and_a_restart_resumes_them(
    start_stack: StartStack, tmp_path: Path
) -> None:
    stack = start_stack("--slots", "1")
    job = start_job(stack, tmp_path / "job")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # First to the whole process group, as a terminal does, then once more, as from an impatient user.
        os.killpg(stack.process.pid, number)
        stack.process.send_signal(number)
        assert stack.wait() == 0
        assert_no_process_is_left(stack)
        stack = start_stack("--slots", "1")
        with stack.client as client:
            assert b"".join(client.chunks(job.hash)).startswith(b"PK")
            until(lambda client=client: client.job(job.hash).status == "RUNNING")
    with stack.client as client:
        assert job.secret is not None
        client.cancel(job.hash, job.secret)
        assert client.wait(job.hash, 30).status == "CANCELED"


def test_a_signal_during_startup_stops_the_stack(tmp_path: Path) -> None:
    data = tmp_path / "data"
    command = (*COMMAND, "up", "--port", "0", "--data", data, "--slots", "1")
    with started(*command, stdout=subprocess.PIPE) as process:
        until(lambda: any("functions.serve" in command for command in processes_of(data).values()))
        process.terminate()
        assert process.wait(30) == 0
    assert processes_of(data) == {}


def test_under_nohup_it_ignores_sighup(tmp_path: Path) -> None:
    with closing(StackProcess(tmp_path / "data", "--slots", "0", prefix=["nohup"])) as stack:
        stack.process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            stack.process.wait(0.5)


def test_modules_in_the_working_directory_do_not_shadow_its_own(tmp_path: Path) -> None:
    for name in ("functions", "worker_vm"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong module')")
    with closing(StackProcess(tmp_path / "data", "--slots", "1", cwd=tmp_path)) as stack:
        assert stack.stop() == 0
        assert stack.errors.read_text() == ""


def test_a_killed_supervisor_leaves_nothing_behind(start_stack: StartStack, tmp_path: Path) -> None:
    stack = start_stack("--slots", "1")
    job = start_job(stack, tmp_path / "job")
    stack.process.kill()
    until(lambda: not processes_of(stack.data))
    stack = start_stack("--slots", "0")
    with stack.client as client:
        assert client.job(job.hash).status == "CREATED"


def test_a_killed_worker_is_replaced_and_its_job_runs_again(start_stack: StartStack, tmp_path: Path) -> None:
    stack = start_stack("--slots", "1", EXECUTOR_LEASE="2")
    marker = tmp_path / "marker"
    job = start_job(stack, tmp_path / "job", f"if [ -e {marker} ]; then echo again; else touch {marker}; sleep 600; fi")
    until(marker.exists)
    worker = stack.pid_of("worker_vm.worker.main")
    assert worker is not None
    signal_all([worker], signal.SIGKILL)
    with stack.client as client:
        finished = client.wait(job.hash, 30)
        assert finished.status == "SUCCESS"
        assert b"".join(client.chunks(finished.result_hashes["all"], "job_stdout.txt")) == b"again\n"
    assert stack.stop() == 0
    assert_no_process_is_left(stack)


def test_a_killed_server_is_replaced_at_the_same_address(start_stack: StartStack) -> None:
    stack = start_stack("--slots", "0")
    server = stack.pid_of("functions.serve")
    assert server is not None
    signal_all([server], signal.SIGKILL)
    until(lambda: stack.pid_of("functions.serve") not in (server, None))

    def responds() -> bool:
        with stack.client as client:
            try:
                return client.workers() == []
            except CloudExecutorError:
                return False

    until(responds)
    assert stack.stop() == 0
    assert_no_process_is_left(stack)


def test_a_worker_that_keeps_ending_is_restarted_and_the_server_continues(start_stack: StartStack) -> None:
    stack = start_stack("--slots", "1")
    server = stack.pid_of("functions.serve")
    killed: set[int] = set()

    def kill_worker() -> bool:
        worker = stack.pid_of("worker_vm.worker.main")
        if worker is not None and worker not in killed:
            killed.add(worker)
            signal_all([worker], signal.SIGKILL)
        return len(killed) == 6

    until(kill_worker, 60)
    with stack.client as client:
        assert client.workers() is not None
    assert stack.pid_of("functions.serve") == server
    assert stack.stop() == 0
    pauses = [float(found) for found in re.findall(r'"pause_seconds": ?([0-9.]+)', stack.errors.read_text())]
    assert pauses[:5] == [0.2, 0.4, 0.8, 1.6, 3.2]
    assert_no_process_is_left(stack)


@pytest.fixture
def without_docker(tmp_path: Path) -> str:
    """PYTHONPATH of an installation without the library docker."""
    (tmp_path / "missing").mkdir()
    (tmp_path / "missing" / "docker.py").write_text("raise ModuleNotFoundError(\"No module named 'docker'\")")
    return f"{tmp_path / 'missing'}:{PROJECT}"


def test_a_missing_library_for_containers_is_named(tmp_path: Path, without_docker: str) -> None:
    up = ("up", "--port", "0", "--data", tmp_path / "data")
    rejected = run(*up, EXECUTOR_SANDBOX="container", EXECUTOR_IMAGE="any", PYTHONPATH=without_docker, cwd=tmp_path)
    assert_rejected(rejected, "EXECUTOR_SANDBOX=container", f" -m pip install --editable '{PROJECT}[vm]'`")


def test_a_worker_that_cannot_start_commands_is_not_ready(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    rejected = run("up", "--port", "0", "--data", tmp_path / "data", "--slots", "1", PATH=str(tmp_path / "bin"))
    assert_rejected(rejected, "The worker pool default cannot run jobs. The command 'true' was not found.")


def test_a_port_in_use_is_rejected(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_rejected(run("up", "--port", str(port), "--data", tmp_path), f"port {port}", "in use", "--port")


@EMBEDDED
def test_a_data_folder_in_use_is_rejected(stack: StackProcess) -> None:
    assert_rejected(run("up", "--port", "0", "--data", stack.data), "Another `executor up`", str(stack.data))


def test_an_unusable_data_folder_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert_rejected(run("up", "--port", "0", "--data", tmp_path / "file"), "data folder", "file exists")
    assert_rejected(run("up", "--port", "0", "--data", "/proc/nothing"), "data folder", "/proc/nothing")


def test_an_unusable_work_folder_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "work").touch()
    assert_rejected(run("up", "--port", "0", "--data", tmp_path, "--slots", "1"), "running jobs")
    assert processes_of(tmp_path) == {}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--port", "http"], "--port"),
        (["--port", "65536"], "--port"),
        (["--slots", "-1"], "--slots"),
        (["--slots", "many"], "--slots"),
        (["--nonsense"], "--nonsense"),
        (["more"], "more"),
        (["--host", "no.such.host.invalid", "--port", "0"], "no.such.host.invalid"),
        (["--host", "192.0.2.1", "--port", "0"], "192.0.2.1"),
    ],
)
def test_an_invalid_option_is_rejected(tmp_path: Path, arguments: list[str], part: str) -> None:
    assert_rejected(run("up", "--data", tmp_path, *arguments), part)


def test_an_invalid_setting_is_rejected(tmp_path: Path) -> None:
    up = ("up", "--port", "0", "--data", tmp_path)
    assert_rejected(run(*up, EXECUTOR_LEASE="long"), "EXECUTOR_LEASE", "seconds")
    assert_rejected(run(*up, EXECUTOR_LEES="30"), "EXECUTOR_LEES is not a known setting")


def test_an_address_that_is_open_to_others_is_refused(start_stack: StartStack, tmp_path: Path) -> None:
    refused = run("up", "--port", "0", "--data", tmp_path, "--host", "0.0.0.0")
    assert_rejected(refused, "Anyone who can reach this server", "EXECUTOR_AUTH=token", "EXECUTOR_ALLOW_OPEN=yes")
    stack = start_stack("--slots", "0", "--host", "0.0.0.0", EXECUTOR_ALLOW_OPEN="yes")
    assert stack.url.startswith("http://127.0.0.1:")
    assert "--auth token" in stack.errors.read_text()
    stack.stop()
    stack = start_stack("--slots", "0", "--host", "::1")
    with stack.client as client:
        assert client.workers() == []


def test_with_a_nonce_it_becomes_ready_and_rejects_clients_without_it(start_stack: StartStack, tmp_path: Path) -> None:
    stack = start_stack("--slots", "1", EXECUTOR_NONCE="secret")
    folder = job_folder(tmp_path / "job", "echo hello")
    rejected = run("run", folder, "--url", stack.url)
    assert (rejected.returncode, rejected.stderr.splitlines()[-1]) == (
        2,
        b"Error: The server requires a nonce: give it with --nonce or EXECUTOR_NONCE.",
    )
    assert b"rejected the nonce" in run("run", folder, "--url", stack.url, "--nonce", "wrong").stderr
    assert stack.errors.read_text().count("EXECUTOR_NONCE has fewer than 16 characters") == 1
    accepted = run("run", folder, "--url", stack.url, EXECUTOR_NONCE="secret")
    assert (accepted.returncode, accepted.stdout) == (0, b"hello\n")
