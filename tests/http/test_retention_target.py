"""The function that deletes old data, and `executor gc` on the same stores."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from in_process import open_client

from cloud_executor.cli.main import run_command
from cloud_executor.composition import open_collector, open_jobs
from cloud_executor.model.documents.javascript import iso_time
from cloud_executor.model.jobs.job import Job, Status
from cloud_executor.retention.collector import Collector, Report
from cloud_executor.settings import InvalidSetting, Settings


def old_job(folder: Path, job_hash: str) -> None:
    jobs = open_jobs(Settings(data=folder))
    created = iso_time(jobs.clock() - timedelta(days=31))
    job = Job(hash=job_hash, create_time=created, secret="s", status=Status.SUCCESS)
    jobs.store.transact(job_hash, lambda _: job)


def test_the_function_deletes_old_data_on_each_post(tmp_path: Path) -> None:
    old_job(tmp_path, "old")
    with open_client(tmp_path, "retention", keep_jobs="30") as client:
        assert client.get("/").status_code == 404
        assert client.post("/").get_json()["jobs_deleted"] == 1
        assert client.post("/any/path").get_json()["jobs_deleted"] == 0
    with open_client(tmp_path) as client:
        client.post("/rest/blob/createFile/a", data=b"12345")
        stats = client.get("/rest/executor/stats").get_json()
        assert stats["bytesStored"] == 0
        assert stats["bytesStoredAt"] is not None
        open_collector(Settings(data=tmp_path)).measure()
    with open_client(tmp_path) as client:
        assert client.get("/rest/executor/stats").get_json()["bytesStored"] > 5


def test_the_function_needs_an_age(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="EXECUTOR_KEEP_JOBS"), open_client(tmp_path, "retention"):
        pass


def test_the_grace_period_exceeds_the_longest_job(tmp_path: Path) -> None:
    assert open_collector(Settings(data=tmp_path)).grace == timedelta(days=3)
    assert open_collector(Settings(data=tmp_path, longest_job=timedelta(days=7))).grace == timedelta(days=9)


def test_the_command_deletes_old_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for name in [name for name in os.environ if name.startswith("EXECUTOR_")]:
        monkeypatch.delenv(name)
    data = ["--data", str(tmp_path)]
    assert run_command(["gc", *data]) == 2
    assert "--older-than" in capsys.readouterr().err
    assert run_command(["gc", *data, "--older-than", "a month"]) == 2
    old_job(tmp_path, "old")
    with open_client(tmp_path) as client:
        client.post("/rest/blob/createFile/a", data=b"12345")
    capsys.readouterr()
    assert run_command(["gc", *data, "--older-than", "0d", "--dry-run"]) == 0
    assert capsys.readouterr().out == "Would delete 1 job and 0 stored objects (0 B).\n"
    assert run_command(["gc", *data, "--older-than", "30d", "--user", "ada", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["jobs_deleted"] == 0
    assert run_command(["gc", *data, "--older-than", "30d"]) == 0
    assert capsys.readouterr().out == "Deleted 1 job and 0 stored objects (0 B).\n"
    found = Report(jobs_deleted=2, objects_deleted=3, bytes_deleted=2048, documents_waiting=1)
    monkeypatch.setattr(Collector, "run", lambda *_, **__: found)
    assert run_command(["gc", *data, "--older-than", "30d"]) == 0
    deleted, waiting = capsys.readouterr().out.splitlines()
    assert deleted == "Deleted 2 jobs and 3 stored objects (2.0 KiB)."
    assert waiting.startswith("1 blob that nothing needs will be deleted by a run 3 days after")
