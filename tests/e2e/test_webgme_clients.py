"""WebGME's own JavaScript clients and worker, unchanged, against our server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from node_packages import INSTALL_SECONDS, NODE, installed_modules
from requirement import lacking
from stack_process import ALL, StackProcess, job_folder, until

from cloud_executor.client import CloudExecutor, JobInfo

# The first of them may have to install the packages.
pytestmark = pytest.mark.timeout(INSTALL_SECONDS + 120)

Said = dict[str, Any]

NOT_FOUND = {"message": "Not Found", "status": 404}
FORBIDDEN = {"message": "Forbidden", "status": 403}


@pytest.fixture(scope="module")
def modules() -> Path:
    return installed_modules()


# Clients --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clients_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clients")


@pytest.fixture(scope="module")
def clients(modules: Path, stack: StackProcess, clients_folder: Path) -> Said:
    """What the scenarios of node/clients.js have to say."""
    finished = subprocess.run(
        ["node", str(NODE / "clients.js"), stack.url, str(clients_folder)],
        env={**os.environ, "NODE_PATH": str(modules)},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert finished.returncode == 0, finished.stderr
    said: Said = json.loads(finished.stdout)
    return said


@pytest.fixture
def said(request: pytest.FixtureRequest, clients: Said) -> Said:
    """What the scenario said that a test is named after: `test_<scenario>_...`."""
    found: Said = clients[request.function.__name__.split("_")[1]]
    assert "failed" not in found, found
    return found


def test_buffers_come_back_as_they_were_sent(said: Said) -> None:
    assert said == {
        "a.txt": {"name": "a.txt", "size": 6, "mime": "text/plain", "object": "hello\n"},
        "ü &%+#?;=.bin": {
            "name": "ü &%+#?;=.bin",
            "size": 4,
            "mime": "application/octet-stream",
            "object": "\0\xff\r\n",
        },
        "folder": {"name": "folder", "size": 4, "mime": "application/octet-stream", "object": "text"},
        "empty": {"name": "empty", "size": 0, "mime": "application/octet-stream", "object": ""},
    }


def test_streams_come_back_as_they_were_sent(said: Said) -> None:
    assert said["size"] == 3 * 1024 * 1024 + 1
    assert said["content"] == said["received"] == said["sent"]


def test_artifacts_are_saved_and_read_whole_and_by_file(said: Said, clients_folder: Path) -> None:
    files = {"9": "nine", "10": "ten", "dir/soft.txt": "soft", "dir/ü.json": '{"a": 1}', "linked": "link"}
    assert said["name"] == "many.zip"
    assert said["objects"] == files
    assert said["again"] == said["hash"]
    assert said["json"] == {"b": [1, "ü"]}
    assert said["text"] == "soft"
    with zipfile.ZipFile(clients_folder / "many.zip") as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == files


def test_jobs_are_created_watched_and_read(said: Said) -> None:
    info = said["info"]
    assert said["created"] == {"status": "CREATED", "secret": "string", "hash": True}
    assert (info["status"], sorted(info["resultHashes"])) == ("SUCCESS", ["all", "csv"])
    assert info["createTime"] <= info["startTime"] <= info["finishTime"]
    assert said["again"] == said["listed"] == info
    assert "secret" not in info
    assert said["stdout"] == "one\ntwo\n"
    assert said["csv"] == ["r.csv"]
    assert said["segments"] == ["one\n", "two\n"]
    assert (said["first"], said["rest"]) == ([0], [1])
    assert said["byStatus"] is True


def test_cancel_needs_the_secret_and_the_job_can_be_made_anew(said: Said) -> None:
    assert said["wrong"] == FORBIDDEN
    assert (said["right"], said["status"]) == ("OK", "CANCELED")
    assert (said["anew"], said["renewed"]) == ("CREATED", True)
    assert said["old"] == FORBIDDEN
    assert said["last"] == "CANCELED"


def test_external_jobs_may_have_any_id(said: Said) -> None:
    job_hash = "no hash: some/external job ü"
    assert (said["created"], said["output"], said["update"]) == (job_hash, None, "OK")
    assert (said["info"]["status"], said["info"]["resultHashes"]) == ("SUCCESS", {"all": "x"})
    assert said["segments"] == [{"hash": job_hash, "outputNumber": 0, "output": "piece", "_id": f"{job_hash}+0"}]


def test_workers_are_listed_without_secrets(said: Said) -> None:
    (worker,) = said.values()
    assert sorted(worker) == ["clientId", "jobs", "labels", "lastSeen", "pool", "slots", "userId"]


def test_errors_are_what_the_clients_expect(said: Said) -> None:
    # getObject has only the status to go by.
    assert said.pop("getObject") == said.pop("subpath") == {"message": "404"}
    assert said == dict.fromkeys(("getMetadata", "twoHashes", "info", "output", "update", "cancel"), NOT_FOUND)


# The worker -----------------------------------------------------------------------------------------------------------


class ExternalStack:
    """A stack without workers of its own, and WebGME's worker for it."""

    def __init__(self, client: CloudExecutor, label_jobs: Path) -> None:
        self.client = client
        self.label_jobs = label_jobs

    def start(self, folder: Path, **fields: Any) -> JobInfo:
        return self.client.create_job(self.client.upload_folder(folder), **fields)

    def run(self, folder: Path, **fields: Any) -> JobInfo:
        return self.client.wait(self.start(folder, **fields).hash, 30)


@pytest.fixture(scope="module")
def external(modules: Path, tmp_path_factory: pytest.TempPathFactory, kind: tuple[str, ...]) -> Iterator[ExternalStack]:
    if shutil.which("unzip") is None:
        lacking("node", "WebGME's worker needs unzip, which is not installed.")
    folder = tmp_path_factory.mktemp("external")
    label_jobs = folder / "label_jobs.json"
    settings = {"EXECUTOR_WORKER_REFRESH_INTERVAL": "100", "EXECUTOR_LABEL_JOBS": str(label_jobs)}
    label_jobs.write_text("{}")
    with (
        closing(StackProcess(folder / "data", "--slots", "0", *kind, settings=settings)) as stack,
        webgme_worker(modules, stack.url, folder),
        stack.client as client,
    ):
        yield ExternalStack(client, label_jobs)
    # It also writes there what its jobs write. The command of one of them fails; nothing else may go wrong.
    complaints = [line for line in (folder / "errors.log").read_text().splitlines() if "error" in line.lower()]
    assert all(line.endswith(" exec error: 3") for line in complaints), complaints


@contextmanager
def webgme_worker(modules: Path, url: str, folder: Path) -> Iterator[None]:
    (folder / "config.json").write_text(json.dumps({url: {}, "maxConcurrentJobs": 2}))
    program = modules / "webgme-executor-worker" / "node_worker.js"
    with (folder / "errors.log").open("wb") as errors:
        worker = subprocess.Popen(
            ["node", "--no-warnings", "-r", str(NODE / "without_file.js"), str(program), "config.json", "work"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
    try:
        yield
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


SCRIPTS = {
    "echo": ("echo hello", ALL),
    "files": (
        "mkdir -p out/deep .hid 'sp ace'; echo 1 > out/a.csv; echo 2 > out/deep/b.csv; echo 3 > .hid/c.csv; : > empty; "
        "echo 5 > 10; echo 6 > 9; echo 7 > 'sp ace/ü 漢 😀.txt'; echo 9 > 'x#?%&+.html'; echo err >&2; echo out",
        [
            {"name": "all", "resultPatterns": []},
            {"name": "csv", "resultPatterns": ["**/*.csv"]},
            {"name": "none", "resultPatterns": ["*.nothing"]},
            {"name": "not", "resultPatterns": ["!*.csv"]},
            {"name": 'ü name/with "odd" text', "resultPatterns": ["**", "{9,10}"]},
        ],
    ),
    "failure": ("echo partial; echo bad >&2; exit 3", ALL),
    "output": ("for i in 1 2 3 4; do echo line $i; done", ALL),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_same_job_has_the_same_outcome_by_either_worker(
    external: ExternalStack, stack: StackProcess, tmp_path: Path, name: str
) -> None:
    script, artifacts = SCRIPTS[name]
    # WebGME's worker does not wait until the files for the output are there: the result of luck if a job is too quick.
    script = f"sleep 0.3; {script}"
    fields = {"outputInterval": 50, "outputSegmentSize": 2} if name == "output" else {}
    folder = job_folder(tmp_path / name, script, artifacts, **fields)
    (folder / ".profile").write_text("x")
    theirs = external.run(folder)
    with stack.client as client:
        ours = client.wait(client.create_job(client.upload_folder(folder)).hash, 30)
    assert theirs.hash == ours.hash
    assert theirs.status == ours.status == ("FAILED_TO_EXECUTE" if name == "failure" else "SUCCESS")
    assert theirs.result_hashes == ours.result_hashes
    assert len(theirs.result_hashes) == len(artifacts)
    assert theirs.output_number == ours.output_number or name == "output"


def test_its_output_is_read_while_the_job_runs(external: ExternalStack, tmp_path: Path) -> None:
    go_on = tmp_path / "go_on"
    script = f"echo first; while [ ! -e {go_on} ]; do sleep 0.05; done; echo last"
    job = external.start(job_folder(tmp_path / "slow", script, outputInterval=20))
    until(lambda: [segment.output for segment in external.client.output(job.hash)] == ["first\n"])
    assert external.client.job(job.hash).status == "RUNNING"
    go_on.touch()
    assert external.client.wait(job.hash, 30).status == "SUCCESS"
    assert [segment.output for segment in external.client.output(job.hash)] == ["first\n", "last\n"]


def test_it_is_listed_with_the_jobs_that_it_runs_and_cancels_them(external: ExternalStack, tmp_path: Path) -> None:
    job = external.start(job_folder(tmp_path / "long", "exec sleep 600"))
    assert job.secret is not None

    def running() -> bool:
        return [found.hash for worker in external.client.workers() for found in worker.jobs] == [job.hash]

    until(running)
    external.client.cancel(job.hash, job.secret)
    canceled = external.client.wait(job.hash, 30)
    assert (canceled.status, canceled.cancel_requested) == ("CANCELED", False)
    assert read(external.client, canceled) == b""


def test_a_label_job_gives_it_the_label(external: ExternalStack, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    job = external.start(job_folder(tmp_path / "special", f"cat {marker}"), labels=["special"])
    label_job = external.client.upload_folder(job_folder(tmp_path / "label", f"echo labelled > {marker}"))
    assert external.client.job(job.hash).status == "CREATED"
    external.label_jobs.write_text(json.dumps({"special": label_job}))
    finished = external.client.wait(job.hash, 30)
    assert (finished.status, finished.labels) == ("SUCCESS", ("special",))
    assert read(external.client, finished) == b"labelled\n"
    assert [worker.labels for worker in external.client.workers()] == [("special",)]


def read(client: CloudExecutor, job: JobInfo) -> bytes:
    return b"".join(client.chunks(job.result_hashes["all"], "job_stdout.txt"))
