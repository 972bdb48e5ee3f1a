"""An idle worker removes its machine from the group, but never while it has a job."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import Any

import pytest
from google_machine import GoogleMachine, google_machine
from worker_harness import Stack, until
from worker_thread import WorkerThread, runner_of

from cloud_executor.errors import Unavailable
from cloud_executor.model.jobs.job import Job, Status
from cloud_executor.ports import Delivery, Subscription
from worker_vm.worker.machine.leave import SweepService, is_in_instance_group
from worker_vm.worker.machine.metadata_server import HOST_VARIABLE
from worker_vm.worker.slots import Slots
from worker_vm.worker.worker import Departure


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleMachine]:
    """A fake machine for the test's process."""
    with google_machine() as found:
        monkeypatch.setenv(HOST_VARIABLE, found.address)
        yield found


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_vm.worker.worker.IDLE_CHECK_SECONDS", 0.01)


# When it is idle ----------------------------------------------------------------------------------------------------


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_idle_time_starts_at_the_end_of_the_last_job() -> None:
    clock = Clock()
    slots = Slots(2, clock)
    clock.seconds += 9
    with slots.working(1) as taken:
        assert taken
        clock.seconds += 60
        assert slots.busy == 1
        assert not slots.close_if_idle(10)
    clock.seconds += 9
    assert not slots.close_if_idle(10)
    assert not slots.closed.is_set()
    clock.seconds += 1
    assert slots.close_if_idle(10)
    assert slots.closed.is_set()


def test_closed_slots_reject_a_delivery() -> None:
    slots = Slots(1, Clock())
    assert slots.close_if_idle(0)
    assert not slots.refused
    with slots.working(1) as taken:
        assert not taken
    assert slots.refused
    slots.open()
    assert not slots.refused
    with slots.working(1) as taken:
        assert taken


def test_the_longest_polling_slot_is_known_and_is_not_a_working_one() -> None:
    clock = Clock()
    slots = Slots(2, clock)
    clock.seconds += 5
    slots.polls(1)
    clock.seconds += 5
    assert slots.longest_polling() == (2, 10)
    with slots.working(2):
        assert slots.longest_polling() == (1, 5)
        with slots.working(1):
            assert slots.longest_polling() is None


# The machine --------------------------------------------------------------------------------------------------------

AUDIENCE = "https://cloud-executor.invalid/our-project/our/leave"


def test_a_machine_knows_whether_it_is_in_a_group(machine: GoogleMachine) -> None:
    assert is_in_instance_group()


@pytest.mark.parametrize(
    "created_by", [None, "projects/1/zones/us-central1-b/instanceGroupManagers/other", "somebody", ""]
)
def test_a_machine_outside_a_regional_group_has_no_group(machine: GoogleMachine, created_by: str | None) -> None:
    del machine.metadata["instance/attributes/created-by"]
    if created_by is not None:
        machine.metadata["instance/attributes/created-by"] = created_by
    assert not is_in_instance_group()


def test_a_machine_outside_google_cloud_has_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOST_VARIABLE, "127.0.0.1:1")
    assert not is_in_instance_group()


def test_a_machine_proves_who_it_is_to_the_platform_and_to_the_service(machine: GoogleMachine) -> None:
    assert SweepService(machine.url + "/", AUDIENCE).remove_this_machine("default")
    assert machine.removals == [("/leave", {"pool": "default"})]
    assert machine.tokens == [(f"Bearer token for {AUDIENCE}", f"Bearer token for {machine.url}/")]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((HTTPStatus.FORBIDDEN, {"error": "a reason"}), "cannot leave its instance group: .*a reason"),
        ((HTTPStatus.FOUND, {}), "cannot leave its instance group"),
        ((HTTPStatus.OK, {"republished": 0}), "invalid response"),
        ((HTTPStatus.OK, {"leaving": 1}), "invalid response"),
    ],
)
def test_a_rejected_removal_raises_an_error(
    machine: GoogleMachine, answer: tuple[HTTPStatus, dict[str, Any]], message: str
) -> None:
    machine.answers.append(answer)
    with pytest.raises(Unavailable, match=message):
        SweepService(machine.url, AUDIENCE).remove_this_machine("default")


def test_a_service_that_cannot_be_reached_raises_an_error(machine: GoogleMachine) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        SweepService("http://127.0.0.1:1", AUDIENCE).remove_this_machine("default")


def test_a_machine_without_a_token_asks_nobody(machine: GoogleMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOST_VARIABLE, "127.0.0.1:1")
    with pytest.raises(Unavailable, match="no identity token"):
        SweepService(machine.url, AUDIENCE).remove_this_machine("default")
    assert machine.removals == []


# The worker ---------------------------------------------------------------------------------------------------------


def departure(machine: GoogleMachine, seconds: float = 0.5) -> Departure:
    service = SweepService(machine.url, AUDIENCE)
    return Departure(seconds, partial(service.remove_this_machine, "default"))


def test_an_idle_worker_removes_its_machine_and_takes_no_more_jobs(stack: Stack, machine: GoogleMachine) -> None:
    added = stack.add_script("true")
    with WorkerThread(
        runner_of(stack, stack.jobs), queue=stack.jobs.queue, slots=2, departure=departure(machine)
    ) as worker:
        job = stack.finished(added)
        worker.join()
        late = stack.add_script("true # late")
    assert worker.ended == [True]
    assert [path for path, _ in machine.removals] == ["/leave"]
    assert (job.status, stack.get(late).status) == (Status.SUCCESS, Status.CREATED)


def test_a_worker_with_a_job_stays(stack: Stack, machine: GoogleMachine) -> None:
    added = stack.add_script("sleep 1")
    with WorkerThread(
        runner_of(stack, stack.jobs), queue=stack.jobs.queue, slots=2, departure=departure(machine, 0.2)
    ) as worker:
        job = stack.finished(added)
        assert (job.status, machine.removals) == (Status.SUCCESS, [])
        worker.join()
    assert len(machine.removals) == 1


def test_a_worker_that_cannot_leave_takes_jobs_and_tries_again(stack: Stack, machine: GoogleMachine) -> None:
    refused = (HTTPStatus.FORBIDDEN, {"error": {"code": 403, "message": "no"}})
    machine.answers += [refused] * 10_000
    with WorkerThread(
        runner_of(stack, stack.jobs), queue=stack.jobs.queue, slots=2, departure=departure(machine)
    ) as worker:
        until(lambda: machine.removals)
        job = stack.finished(stack.add_script("true"))
        assert job.status == Status.SUCCESS
        machine.answers.clear()
        worker.join()
    assert worker.ended == [True]
    assert len(machine.removals) > 1


def test_an_idle_worker_stays_if_its_pool_must_keep_the_machine(stack: Stack, machine: GoogleMachine) -> None:
    machine.answers += [(HTTPStatus.OK, {"leaving": False})] * 10_000
    with WorkerThread(
        runner_of(stack, stack.jobs), queue=stack.jobs.queue, departure=departure(machine, 0.05)
    ) as worker:
        until(lambda: len(machine.removals) > 1)
        assert stack.finished(stack.add_script("true")).status == Status.SUCCESS
        machine.answers.clear()
        worker.join()
    assert worker.ended == [True]


def test_a_worker_that_gets_a_delivery_while_it_leaves_stays(stack: Stack) -> None:
    """The delivery is given back to the queue; most likely the worker itself, which continues, gets it next."""
    left: list[str] = []
    real = stack.jobs.queue

    class LastMoment:
        """Delivers, once, a message that was published between the worker's last check and its closing."""

        def __init__(self, subscription: Subscription, publish: Callable[[], None] | None) -> None:
            self._subscription = subscription
            self._publish = publish
            self._closing = threading.Event()

        def next(self, timeout: float) -> Delivery | None:
            if self._publish is None:
                return self._subscription.next(timeout)
            assert self._closing.wait(30)
            self._publish()
            self._publish = None
            return self._subscription.next(timeout)

        def close(self) -> None:
            if self._publish is None:
                self._subscription.close()
            self._closing.set()

    class Queue:
        publish = real.publish

        @contextmanager
        def subscribe(self, pool: str, slots: int) -> Iterator[Subscription]:
            with real.subscribe(pool, slots) as subscription:
                yield LastMoment(subscription, publishes.pop() if publishes else None)

    jobs: list[Job] = []
    publishes = [lambda: jobs.append(stack.add_script("true"))]

    def leave() -> bool:
        left.append(stack.get(jobs[0]).status)
        return True

    going = Departure(0.5, leave)
    with WorkerThread(runner_of(stack, stack.jobs), queue=Queue(), departure=going) as worker:
        worker.join()
    job = stack.get(jobs[0])
    assert (left, job.status, job.attempt) == ([Status.SUCCESS], Status.SUCCESS, 1)


def test_a_signal_to_stop_ends_an_idle_worker_that_cannot_leave(stack: Stack) -> None:
    tried = threading.Event()

    def leave() -> bool:
        tried.set()
        raise Unavailable

    with WorkerThread(runner_of(stack, stack.jobs), queue=stack.jobs.queue, departure=Departure(0.01, leave)) as worker:
        assert tried.wait(30)
    assert worker.ended == [True]


@pytest.mark.parametrize("settings", [{HOST_VARIABLE: "127.0.0.1:1", "EXECUTOR_SWEEP_URL": "http://127.0.0.1:1"}, {}])
def test_the_program_stays_without_a_group_or_a_service(
    stack: Stack, machine: GoogleMachine, settings: dict[str, str]
) -> None:
    options = ("--slots", "1", "--idle-minutes", "0.001")
    with stack.program(*options, **{HOST_VARIABLE: machine.address, **settings}) as worker:
        job = stack.finished(stack.add_script("sleep 1"))
        assert job.status == Status.SUCCESS
        worker.process.terminate()
        assert worker.wait() == 0
    assert machine.removals == []


def test_a_program_without_permission_to_leave_logs_it_and_continues(stack: Stack, machine: GoogleMachine) -> None:
    machine.answers += [(HTTPStatus.FORBIDDEN, {"error": "no"})] * 10_000
    options = ("--slots", "1", "--idle-minutes", "0.001")
    with stack.program(*options, EXECUTOR_SWEEP_URL=machine.url, EXECUTOR_PROJECT="our-project") as worker:
        until(lambda: "idle worker cannot leave; it continues" in stack.log.read_text())
        assert stack.finished(stack.add_script("true")).status == Status.SUCCESS
        machine.answers.clear()
        assert worker.wait() == 0
    assert machine.tokens[-1][0] == "Bearer token for https://cloud-executor.invalid/our-project/cloud-executor/leave"


def test_a_program_that_ends_when_idle_ends(stack: Stack, machine: GoogleMachine) -> None:
    with stack.program("--slots", "1", "--idle-minutes", "0.001", "--end-when-idle") as worker:
        assert worker.wait() == 0
    assert machine.removals == []
