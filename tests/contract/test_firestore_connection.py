"""How a FirestoreJobStore connects to its database."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_executor.backends.google.firestore import calls
from cloud_executor.backends.google.firestore import jobs as backend
from cloud_executor.backends.google.firestore.jobs import FirestoreJobStore
from cloud_executor.errors import Unavailable
from cloud_executor.model.jobs.job import Job
from local_stack.emulators import firestore_emulator

JOB = Job(hash="a", create_time="2026-01-31T12:00:00.000Z", secret="hush", pool="p")


def test_the_store_reconnects_to_a_restarted_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    with firestore_emulator() as address:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", address)
        store = FirestoreJobStore("test", "(default)")
        store.transact("a", lambda _: JOB)
    monkeypatch.setattr(backend, "_RETRIED", {"retry": None, "timeout": 1.0})
    with pytest.raises(Unavailable):
        store.get("a")
    with firestore_emulator(int(address.partition(":")[2])):
        for _ in range(60):
            try:
                store.transact("a", lambda _: JOB)
                break
            except Unavailable:
                monkeypatch.setattr(backend, "_RETRIED", {"retry": calls.RETRY, "timeout": 5.0})
        assert store.get("a") == JOB


def test_a_database_that_cannot_be_opened_is_unavailable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(Unavailable):
        FirestoreJobStore("test", "(default)").get("a")
