"""Google Cloud on this machine: all emulators, and the settings for a stack that uses them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from local_stack.emulators import firestore_emulator, pubsub_emulator, storage_emulator
from local_stack.service import ServiceFailed

PROJECT = "local-project"
BUCKET = "blobs"

CONNECT_SECONDS = 5.0
"""Timeout of the check that an emulator still listens, in seconds."""

_SETTINGS = {
    "EXECUTOR_OBJECTS": "gcs",
    "EXECUTOR_JOBS": "google",
    "EXECUTOR_PROJECT": PROJECT,
    "EXECUTOR_BUCKET": BUCKET,
}


@dataclass(frozen=True, slots=True)
class EmulatedCloud:
    """The running emulators."""

    environment: Mapping[str, str]
    """Environment for processes that use the emulators."""
    addresses: Mapping[str, str]
    """Addresses, as `host:port`, by the emulator's name."""

    def check(self) -> None:
        """Raises ServiceFailed if an emulator has ended. A restart would not help, because its data is lost."""
        for name, address in self.addresses.items():
            host, _, port = address.rpartition(":")
            try:
                socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
            except OSError:
                raise ServiceFailed(f"The {name} emulator has ended; stopping the stack.") from None


@contextmanager
def emulated_cloud(data: Path, environment: Mapping[str, str]) -> Iterator[EmulatedCloud]:
    """Run all emulators inside the block. Blobs are kept in `data`; jobs and messages are lost at the end.

    The client libraries find the emulators through environment variables. Because this process uses the libraries too,
    its own environment is changed. Raises EmulatorMissing, EmulatorFailed.
    """
    folder = data / "emulators" / "storage"
    folder.mkdir(parents=True, exist_ok=True)
    starting = {
        "Cloud Storage": storage_emulator(folder),
        "Firestore": firestore_emulator(),
        "Pub/Sub": pubsub_emulator(),
    }
    with ExitStack() as stack:
        with ThreadPoolExecutor() as threads:
            # In parallel, because each takes seconds to start and mostly waits.
            entering = {name: threads.submit(stack.enter_context, emulator) for name, emulator in starting.items()}
        addresses = {name: entered.result() for name, entered in entering.items()}
        variables = {
            **_SETTINGS,
            "STORAGE_EMULATOR_HOST": f"http://{addresses['Cloud Storage']}",
            "FIRESTORE_EMULATOR_HOST": addresses["Firestore"],
            "PUBSUB_EMULATOR_HOST": addresses["Pub/Sub"],
        }
        os.environ.update(variables)
        yield EmulatedCloud({**environment, **variables}, addresses)
