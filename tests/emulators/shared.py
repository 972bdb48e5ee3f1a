"""The emulators that all tests share, and fixtures for them.

Each emulator starts when a test first needs it and runs until the end of the session. With pytest-xdist, the main
process runs the emulators, and the test processes ask it for their addresses over a Unix socket.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, Protocol

import pytest
from requirement import lacking

from local_stack.emulators import EmulatorMissing, firestore_emulator, pubsub_emulator, storage_emulator

CONNECT_SECONDS = 5.0

GOOGLE = ("storage", "firestore", "pubsub")
"""Names of the emulators of a server or a stack that runs on Google's services."""


@contextmanager
def _storage() -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory(prefix="storage-", ignore_cleanup_errors=True) as folder,
        storage_emulator(Path(folder)) as address,
    ):
        yield address


@contextmanager
def _s3() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


EMULATORS: Mapping[str, tuple[str, Callable[[], AbstractContextManager[str]]]] = {
    "storage": ("Cloud Storage", _storage),
    "firestore": ("Firestore", firestore_emulator),
    "pubsub": ("Pub/Sub", pubsub_emulator),
    "s3": ("S3", _s3),
}
"""Title of each emulator and a function that runs it and yields its host:port."""


class Addresses(Protocol):
    def address(self, name: str) -> str:
        """Address of an emulator, which is started if necessary. Raises EmulatorMissing and EmulatorFailed."""


class EmulatorServer:
    """Runs the emulators. Thread-safe."""

    def __init__(self) -> None:
        self._running = ExitStack()
        self._locks = {name: threading.Lock() for name in EMULATORS}
        self._results: dict[str, str | Exception] = {}

    def address(self, name: str) -> str:
        with self._locks[name]:
            if name not in self._results:
                _, run = EMULATORS[name]
                try:
                    self._results[name] = self._running.enter_context(run())
                except Exception as error:
                    self._results[name] = error
        return _address(self._results[name])

    def listen(self) -> str:
        """Answer other processes from now on; returns the path of the socket."""
        folder = tempfile.mkdtemp(prefix="emulators-")
        listener = Listener(f"{folder}/socket", backlog=16)
        self._running.callback(shutil.rmtree, folder, ignore_errors=True)
        self._running.callback(listener.close)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=self._answer, args=(listener.accept(),), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return f"{folder}/socket"

    def _answer(self, connection: Connection) -> None:
        with connection, suppress(EOFError, OSError):
            try:
                connection.send(self.address(connection.recv()))
            except (EOFError, OSError):
                raise
            except Exception as error:
                connection.send(error)

    def close(self) -> None:
        self._running.close()


class EmulatorClient:
    """Asks the main process."""

    def __init__(self, path: str) -> None:
        self._path = path

    def address(self, name: str) -> str:
        with Client(self._path) as connection:
            connection.send(name)
            return _address(connection.recv())


def _address(result: str | Exception) -> str:
    if isinstance(result, Exception):
        raise result
    return result


class SharedEmulators:
    """The emulators that the tests of this process have used."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._used: dict[str, str] = {}

    def use(self, name: str) -> str:
        """Address of an emulator; skips or fails the test if the emulator is not installed."""
        try:
            self._used[name] = self._addresses.address(name)
        except EmulatorMissing as error:
            lacking("emulators", str(error))
        return self._used[name]

    def ended(self) -> list[str]:
        """Titles of the emulators that no longer accept connections."""
        return [EMULATORS[name][0] for name, address in self._used.items() if not _listens(address)]


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


_server = pytest.StashKey[EmulatorServer]()
_shared = pytest.StashKey[SharedEmulators]()


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.stash[_shared] = SharedEmulators(EmulatorClient(config.workerinput["emulators"]))
    else:
        config.stash[_server] = EmulatorServer()
        config.stash[_shared] = SharedEmulators(config.stash[_server])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    config.stash[_socket] = config.stash[_server].listen()


_socket = pytest.StashKey[str]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["emulators"] = node.config.stash[_socket]


def pytest_unconfigure(config: pytest.Config) -> None:
    if _server in config.stash:
        config.stash[_server].close()


def emulators_of(item: pytest.Item) -> set[str]:
    """Names of the shared emulators that a test needs, from its fixtures and parameters."""
    wanted: set[str] = set()
    for fixture in getattr(item, "fixturenames", ()):
        wanted.add(fixture.removesuffix("_address"))
    callspec = getattr(item, "callspec", None)
    for value in callspec.params.values() if callspec else ():
        wanted.update(GOOGLE if value == "emulated" else getattr(value, "fixtures", ()))
    return wanted & EMULATORS.keys()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Any:
    """Skip a test that itself starts an emulator that is missing."""
    try:
        return (yield)
    except EmulatorMissing as error:
        lacking("emulators", str(error))


def pytest_itemcollected(item: pytest.Item) -> None:
    if emulators_of(item):
        item.add_marker("emulated")


def _complaint(config: pytest.Config) -> str:
    """What to tell about shared emulators that have ended; empty if all run."""
    return " ".join(f"The {title} emulator shared by all tests has ended." for title in config.stash[_shared].ended())


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("emulated") and (complaint := _complaint(item.config)):
        pytest.fail(complaint, pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and (complaint := _complaint(item.config)):
        report.sections.append(("Shared emulators", complaint))
    return report


@pytest.fixture(scope="session")
def shared_emulators(request: pytest.FixtureRequest) -> SharedEmulators:
    return request.config.stash[_shared]


@pytest.fixture(scope="session")
def storage_address(shared_emulators: SharedEmulators) -> str:
    """host:port of the Cloud Storage emulator."""
    return shared_emulators.use("storage")


@pytest.fixture(scope="session")
def firestore_address(shared_emulators: SharedEmulators) -> str:
    """host:port of the Firestore emulator."""
    return shared_emulators.use("firestore")


@pytest.fixture(scope="session")
def pubsub_address(shared_emulators: SharedEmulators) -> str:
    """host:port of the Pub/Sub emulator."""
    return shared_emulators.use("pubsub")


@pytest.fixture(scope="session")
def s3_address(shared_emulators: SharedEmulators) -> str:
    """URL of the S3 emulator."""
    return f"http://{shared_emulators.use('s3')}"


@pytest.fixture
def storage(storage_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """host:port of the Cloud Storage emulator, which the client library of this process uses."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{storage_address}")
    return storage_address


@pytest.fixture
def firestore(firestore_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """host:port of the Firestore emulator, which the client library of this process uses."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_address)
    return firestore_address


@pytest.fixture
def pubsub(pubsub_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """host:port of the Pub/Sub emulator, which the client library of this process uses."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_address)
    return pubsub_address


@pytest.fixture
def s3(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of the S3 emulator, which the library of this process and of its children uses."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return s3_address
