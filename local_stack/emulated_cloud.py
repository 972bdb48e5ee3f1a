"""Google Cloud on this machine: all emulators, and the settings of a stack that uses them."""

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

ANSWER_SECONDS = 5.0

_SETTINGS = {
    "EXECUTOR_OBJECTS": "gcs",
    "EXECUTOR_JOBS": "google",
    "EXECUTOR_PROJECT": PROJECT,
    "EXECUTOR_BUCKET": BUCKET,
}


@dataclass(frozen=True, slots=True)
class EmulatedCloud:
    """The emulators, while they run."""

    environment: Mapping[str, str]
    """that of a process that uses them"""
    addresses: Mapping[str, str]
    """name -> host:port"""

    def look_after(self) -> None:
        """Raises ServiceFailed if one has ended: what it held is gone, and so starting it again would not do."""
        for name, address in self.addresses.items():
            host, _, port = address.rpartition(":")
            try:
                socket.create_connection((host, int(port)), ANSWER_SECONDS).close()
            except OSError:
                raise ServiceFailed(f"The {name} emulator has ended, so everything is stopped.") from None


@contextmanager
def emulated_cloud(data: Path, environment: Mapping[str, str]) -> Iterator[EmulatedCloud]:
    """Blobs are kept in `data`; jobs and messages are gone at the end.

    The client libraries find the emulators by the environment, also those of this process: its own is changed.
    Raises EmulatorMissing, EmulatorFailed.
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
            # Each takes seconds, and waits most of them.
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
