"""A cloud service that becomes unavailable under load and recovers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from itertools import product
from pathlib import Path

import pytest
from deployment import (
    EMULATORS,
    FIRESTORE,
    PUBSUB,
    STORAGE,
    Deployment,
    Here,
    NewDeployment,
    Proxies,
    emulated_deployment,
    proxies_to,
)
from load import Load, load_on, server
from stack_process import until

from cloud_executor.model.jobs.job import NotClaimable
from local_stack.emulators import storage_emulator

CLIENTS = 3
NOTICED_WITHIN_SECONDS = 60.0
RECOVERS_WITHIN_SECONDS = 60.0
DELIVERED_WITHIN_SECONDS = 120.0

FAULTS = ("cut", "stall")
NEEDS = {STORAGE: "upload", FIRESTORE: "create"}
"""Action that fails without the service."""

Outages = Mapping[tuple[str, str], Future[None]]
"""Outages in progress, by service and fault."""


@pytest.fixture(scope="module")
def outages(tmp_path_factory: pytest.TempPathFactory, emulators: Mapping[str, str]) -> Iterator[Outages]:
    """Every fault of every service, each in its own deployment; concurrently, because outages mostly wait."""

    def outage(service: str, fault: str, folder: Path) -> None:
        _outage(service, fault, emulated_deployment(folder / "data", emulators), folder)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(len(EMULATORS) * len(FAULTS)) as threads:
        # All deployments set these variables to the same values; the first one to end must not unset them.
        for name, address in emulators.items():
            patch.setenv(name, address)
        yield {
            (service, fault): threads.submit(outage, service, fault, tmp_path_factory.mktemp("outage"))
            for service, fault in product(EMULATORS, FAULTS)
        }


def _outage(service: str, fault: str, deployment: Deployment, folder: Path) -> None:
    with deployment.here() as here, proxies_to(deployment) as proxies:
        deployment.create()
        proxy = proxies.by_variable[service]
        with _loaded(deployment, proxies, folder) as load:
            begin = time.monotonic()
            (proxy.cut if fault == "cut" else proxy.stall)()
            if service in NEEDS:
                _assert_requests_fail(load, NEEDS[service])
            else:
                until(lambda: len(load.since(begin, "create", 200)) > CLIENTS, NOTICED_WITHIN_SECONDS)
                assert any(job.published_at is None for job in here.jobs.clients.jobs())
            proxy.restore()
            _assert_recovery(load)
        _assert_nothing_is_lost(deployment, here, load)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("service", [STORAGE, FIRESTORE])
@pytest.mark.parametrize("fault", FAULTS)
def test_without_a_service_functions_respond_503_then_recover_and_lose_nothing_acknowledged(
    outages: Outages, service: str, fault: str
) -> None:
    outages[service, fault].result()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", FAULTS)
def test_jobs_created_while_messages_cannot_be_sent_are_published_later(outages: Outages, fault: str) -> None:
    outages[PUBSUB, fault].result()


@pytest.mark.timeout(240)
def test_storage_that_is_killed_and_restarted_keeps_everything_acknowledged(
    outages: Outages, emulated: NewDeployment, tmp_path: Path
) -> None:
    # Until they end, the outages set the variables of this process to the address of the shared storage.
    wait(outages.values())
    folder = tmp_path / "storage"
    folder.mkdir()
    with ExitStack() as first:
        address = first.enter_context(storage_emulator(folder))
        deployment = emulated(**{STORAGE: f"http://{address}"})
        with deployment.here() as here, proxies_to(deployment) as proxies:
            deployment.create()
            with _loaded(deployment, proxies, tmp_path) as load:
                # Emulators are always stopped with SIGKILL.
                first.close()
                _assert_requests_fail(load, NEEDS[STORAGE])
                with storage_emulator(folder, int(address.rpartition(":")[2])):
                    _assert_recovery(load)
                    load.stop()
                    _assert_nothing_is_lost(deployment, here, load)


@contextmanager
def _loaded(deployment: Deployment, proxies: Proxies, folder: Path) -> Iterator[Load]:
    """Run a working server under load."""
    with server(deployment, proxies, folder / "server.log") as port, load_on(port, CLIENTS) as load:
        until(lambda: len(load.jobs) > 3 * CLIENTS)
        assert {response.status for response in load.responses} == {200}
        yield load


def _assert_requests_fail(load: Load, action: str) -> None:
    """Assert that the action fails, with the specified response."""
    begin = time.monotonic()
    until(lambda: len(load.since(begin, action)) > CLIENTS, NOTICED_WITHIN_SECONDS)
    found = load.since(begin)
    assert {response.status for response in found if response.action == action} == {503}, found
    assert {response.status for response in found} <= {200, 503}, found
    for response in found:
        if response.status == 503:
            assert response.retry_after == "5"
            assert response.body.count("\n") <= 1


def _assert_recovery(load: Load) -> None:
    begin = time.monotonic()
    until(
        lambda: all(load.since(begin, action, 200) for action in ("upload", "create", "info")), RECOVERS_WITHIN_SECONDS
    )
    assert {response.status for response in load.responses} <= {200, 503}, load.responses


def _assert_nothing_is_lost(deployment: Deployment, here: Here, load: Load) -> None:
    for blob, content in load.blobs.items():
        found = here.blobs.metadata(blob).metadata
        with here.blobs.open_content(found.content_hash) as stored:
            assert stored.read() == content
    assert {job.hash for job in here.jobs.clients.jobs()} >= set(load.jobs)
    missing = set(load.jobs)
    end = time.monotonic() + DELIVERED_WITHIN_SECONDS
    with deployment.swept(), here.jobs.queue.subscribe(here.jobs.pools[0].name, 100) as subscription:
        while missing and time.monotonic() < end:
            delivery = subscription.next(1)
            if delivery is not None:
                missing.discard(delivery.job_hash)
                with suppress(NotClaimable):  # delivered twice
                    # Only a claim makes room in the queue for the next job.
                    here.jobs.attempts.follow(here.jobs.attempts.claim(delivery.job_hash, "witness"))
                delivery.ack()
    assert not missing
