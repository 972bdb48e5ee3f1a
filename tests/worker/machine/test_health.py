"""The worker's health page, and what counts as unhealthy."""

from __future__ import annotations

import http.client
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from worker_harness import PROJECT, Stack, until
from worker_thread import WorkerThread, runner_of

from cloud_executor.errors import Unavailable
from cloud_executor.jobs.attempts import Attempts
from cloud_executor.jobs.options import JobOptions
from cloud_executor.json_logging import JsonFormatter
from cloud_executor.model.jobs.worker import WorkerRecord
from cloud_executor.ports import Delivery, Subscription
from worker_vm.worker.job_runner import JobRunner
from worker_vm.worker.machine.health import health_page


def ask(port: int, path: str = "/healthz", method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class FakeQueue:
    """A queue with one given subscription."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    @contextmanager
    def subscribe(self, pool: str, slots: int) -> Iterator[Subscription]:
        yield self._subscription

    def publish(self, pool: str, job_hash: str) -> None:
        raise AssertionError


# The page -----------------------------------------------------------------------------------------------------------


def test_the_page_shows_the_reason_and_nothing_else() -> None:
    faults = iter([None, "Slot 1 sleeps.", None])
    with health_page(0, lambda: next(faults)) as port:
        assert ask(port) == (200, "The worker is healthy.\n")
        assert ask(port) == (503, "Slot 1 sleeps.\n")
        assert ask(port) == (200, "The worker is healthy.\n")
        assert ask(port, "/")[0] == 404
        assert ask(port, "/healthz", "POST")[0] == 501


def test_a_client_that_sends_nothing_does_not_block_others() -> None:
    with health_page(0, lambda: None) as port, socket.create_connection(("127.0.0.1", port)) as silent:
        silent.sendall(b"GET /heal")
        assert ask(port)[0] == 200


def test_the_images_health_check_exits_with_the_state_of_the_page() -> None:
    def check(port: int) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "worker_vm.worker.machine.ask_health"],
            cwd=PROJECT,
            env={**os.environ, "HEALTH_PORT": str(port), "http_proxy": "http://127.0.0.1:1"},
            capture_output=True,
            text=True,
            timeout=30,
        )
        return done.returncode, done.stdout + done.stderr

    faults = iter([None, "Slot 1 sleeps."])
    with health_page(0, lambda: next(faults)) as port:
        assert check(port) == (0, "The worker is healthy.\n")
        assert check(port) == (1, "Slot 1 sleeps.\n")
    assert check(port) == (1, "The worker does not respond: connection refused.\n")


def test_the_program_serves_the_page_on_its_port(stack: Stack) -> None:
    port = free_port()
    with stack.program("--slots", "1", "--health-port", str(port)) as worker:
        until(lambda: "start" in stack.log.read_text())
        assert ask(port) == (200, "The worker is healthy.\n")
        worker.process.terminate()
        assert worker.wait() == 0


def test_a_port_in_use_is_reported(stack: Stack) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        with stack.program("--health-port", str(port)) as worker:
            assert worker.wait() == 2
    assert (
        f"Error: The port {port} for the health page cannot be used: address already in use." in stack.log.read_text()
    )


# What is healthy ----------------------------------------------------------------------------------------------------


def test_a_worker_that_waits_for_jobs_or_runs_one_is_healthy(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_vm.worker.worker.POLL_SECONDS", 0.05)
    monkeypatch.setattr("worker_vm.worker.worker.STUCK_SECONDS", 1.0)
    with WorkerThread(runner_of(stack, stack.jobs), queue=stack.jobs.queue, slots=2) as thread:
        job = stack.add_script("sleep 2")
        until(lambda: thread.worker.unhealthy_reason() or stack.get(job).finished)
        assert thread.worker.unhealthy_reason() is None


def test_a_slot_that_is_stuck_polling_is_unhealthy(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_vm.worker.worker.STUCK_SECONDS", 0.2)
    let_go = threading.Event()

    class Stuck:
        def next(self, timeout: float) -> Delivery | None:
            let_go.wait(30)
            return None

        def close(self) -> None:
            let_go.set()

    with WorkerThread(runner_of(stack, stack.jobs), queue=FakeQueue(Stuck())) as thread:
        assert until(thread.worker.unhealthy_reason).startswith("Slot 1 has been polling for a job for ")


def test_an_unreachable_queue_does_not_make_the_worker_unhealthy(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine could not reach the queue either."""
    monkeypatch.setattr("worker_vm.worker.worker.STUCK_SECONDS", 2.0)
    monkeypatch.setattr("worker_vm.worker.worker.LONGEST_DELAY_SECONDS", 0.5)
    asked = threading.Semaphore(0)

    class Unreachable:
        def next(self, timeout: float) -> Delivery | None:
            asked.release()
            raise Unavailable

        def close(self) -> None:
            pass

    with WorkerThread(runner_of(stack, stack.jobs), queue=FakeQueue(Unreachable())) as thread:
        for _ in range(8):
            assert asked.acquire(timeout=30)
            assert thread.worker.unhealthy_reason() is None


def test_a_silent_heartbeat_is_unhealthy(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_vm.worker.worker.SILENT_SECONDS", 1.5)
    let_go, shown = threading.Event(), threading.Event()

    class Slow(Attempts):
        def record_worker(self, worker: WorkerRecord) -> None:
            if shown.is_set():
                let_go.wait(30)
            shown.set()

    options = JobOptions(refresh_period=timedelta(milliseconds=100))
    jobs = stack.jobs_with(Slow, options)
    with WorkerThread(runner_of(stack, jobs), queue=jobs.queue) as thread:
        assert until(thread.worker.unhealthy_reason).startswith("The heartbeat has been silent for ")
        let_go.set()
        until(lambda: thread.worker.unhealthy_reason() is None)


# Logs ---------------------------------------------------------------------------------------------------------------


def test_every_log_record_of_a_job_has_its_hash(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    """Including records from parts of the program that do not know about jobs."""
    caplog.set_level(logging.INFO)
    caplog.handler.setFormatter(JsonFormatter("worker"))

    class Talkative(JobRunner):
        def run(self, delivery: Delivery) -> None:
            logging.getLogger("elsewhere").warning("something")
            super().run(delivery)

    with WorkerThread(runner_of(stack, stack.jobs, Talkative), queue=stack.jobs.queue):
        first, second = stack.add_script("true"), stack.add_script("exit 1")
        stack.finished(first)
        stack.finished(second)
    records = [json.loads(line) for line in caplog.text.splitlines()]
    assert [record["job_hash"] for record in records if record["message"] == "something"] == [first.hash, second.hash]
    others = [record for record in records if record.get("action") in ("start", "stop")]
    assert others and not any("job_hash" in record for record in others)


def test_the_number_of_busy_slots_is_logged(
    stack: Stack, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker_vm.worker.worker.COUNT_SECONDS", 0.1)
    caplog.set_level(logging.INFO)
    with WorkerThread(runner_of(stack, stack.jobs), queue=stack.jobs.queue, slots=3):
        stack.add_script("sleep 60")
        until(lambda: {(found.pool, found.slots, found.busy) for found in counted(caplog)} == {("default", 3, 1)})


def counted(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record for record in caplog.records if record.__dict__.get("action") == "slots"][-1:]
