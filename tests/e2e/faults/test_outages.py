"""A service of the cloud that goes away under load, and comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
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

from local_stack.emulators import storage_emulator

CLIENTS = 3
NOTICED_WITHIN_SECONDS = 60.0
RECOVERS_WITHIN_SECONDS = 60.0
DELIVERED_WITHIN_SECONDS = 120.0

FAULTS = ("cut", "stall")
NEEDS = {STORAGE: "upload", FIRESTORE: "create"}
"""what does not work without it"""

Outages = Mapping[tuple[str, str], Future[None]]
"""by service and fault"""


@pytest.fixture(scope="module")
def outages(tmp_path_factory: pytest.TempPathFactory, emulators: Mapping[str, str]) -> Iterator[Outages]:
    """Every service away in every way, each from a deployment of its own. At once, since they are spent waiting."""

    def outage(service: str, fault: str) -> None:
        folder = tmp_path_factory.mktemp("outage")
        _outage(service, fault, emulated_deployment(folder / "data", emulators), folder)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(len(EMULATORS) * len(FAULTS)) as threads:
        # What each of them sets to the same must not be unset by the first that ends.
        for name, address in emulators.items():
            patch.setenv(name, address)
        yield {
            (service, fault): threads.submit(outage, service, fault) for service, fault in product(EMULATORS, FAULTS)
        }


def _outage(service: str, fault: str, deployment: Deployment, folder: Path) -> None:
    with deployment.here() as here, proxies_to(deployment) as proxies:
        deployment.create()
        way = proxies.ways[service]
        with _loaded(deployment, proxies, folder) as load:
            begin = time.monotonic()
            (way.cut if fault == "cut" else way.stall)()
            if service in NEEDS:
                _is_noticed(load, NEEDS[service])
            else:
                until(lambda: len(load.since(begin, "create", 200)) > CLIENTS, NOTICED_WITHIN_SECONDS)
                assert any(job.published_at is None for job in here.jobs.clients.jobs())
            way.restore()
            _recovers(load)
        _nothing_is_lost(deployment, here, load)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("service", [STORAGE, FIRESTORE])
@pytest.mark.parametrize("fault", FAULTS)
def test_without_a_service_functions_answer_503_and_recover_and_lose_nothing_acknowledged(
    outages: Outages, service: str, fault: str
) -> None:
    outages[service, fault].result()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", FAULTS)
def test_jobs_are_stored_while_messages_cannot_be_sent_and_published_afterwards(outages: Outages, fault: str) -> None:
    outages[PUBSUB, fault].result()


@pytest.mark.timeout(240)
def test_a_storage_that_is_killed_and_started_again_has_kept_what_was_acknowledged(
    emulated: NewDeployment, tmp_path: Path
) -> None:
    folder = tmp_path / "storage"
    folder.mkdir()
    with ExitStack() as first:
        address = first.enter_context(storage_emulator(folder))
        deployment = emulated(**{STORAGE: f"http://{address}"})
        with deployment.here() as here, proxies_to(deployment) as proxies:
            deployment.create()
            with _loaded(deployment, proxies, tmp_path) as load:
                # Which is how all emulators are ended: by SIGKILL.
                first.close()
                _is_noticed(load, NEEDS[STORAGE])
                with storage_emulator(folder, int(address.rpartition(":")[2])):
                    _recovers(load)
                    load.stop()
                    _nothing_is_lost(deployment, here, load)


@contextmanager
def _loaded(deployment: Deployment, proxies: Proxies, folder: Path) -> Iterator[Load]:
    """A server under load, which works."""
    with server(deployment, proxies, folder / "server.log") as port, load_on(port, CLIENTS) as load:
        until(lambda: len(load.jobs) > 3 * CLIENTS)
        assert {answer.status for answer in load.answers} == {200}
        yield load


def _is_noticed(load: Load, action: str) -> None:
    """The action fails, and is refused as it should be."""
    begin = time.monotonic()
    until(lambda: len(load.since(begin, action)) > CLIENTS, NOTICED_WITHIN_SECONDS)
    found = load.since(begin)
    assert {answer.status for answer in found if answer.action == action} == {503}, found
    assert {answer.status for answer in found} <= {200, 503}, found
    for answer in found:
        if answer.status == 503:
            assert answer.retry_after == "5"
            assert answer.text.count("\n") <= 1


def _recovers(load: Load) -> None:
    begin = time.monotonic()
    until(
        lambda: all(load.since(begin, action, 200) for action in ("upload", "create", "info")), RECOVERS_WITHIN_SECONDS
    )
    assert {answer.status for answer in load.answers} <= {200, 503}, load.answers


def _nothing_is_lost(deployment: Deployment, here: Here, load: Load) -> None:
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
                delivery.ack()
    assert not missing
