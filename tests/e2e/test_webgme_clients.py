"""WebGME's own JavaScript clients and worker, unchanged, against our server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from memory_folders import memory_folder
from node_packages import INSTALL_SECONDS, NODE, installed_modules
from requirement import lacking
from stack_process import ALL, StackProcess, job_folder, until

from cloud_executor import Client, JobInfo

# The first test may have to install the npm packages.
pytestmark = pytest.mark.timeout(INSTALL_SECONDS + 120)

Results = dict[str, Any]

NOT_FOUND = {"message": "Not Found", "status": 404}
FORBIDDEN = {"message": "Forbidden", "status": 403}


@pytest.fixture(scope="module")
def modules() -> Path:
    return installed_modules(NODE, "--omit=optional")


# Clients --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clients_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clients")


@pytest.fixture(scope="module")
def scenarios(modules: Path, stack: StackProcess, clients_folder: Path) -> Results:
    """Results of all scenarios in node/clients.js, by scenario."""
    finished = subprocess.run(
        ["node", str(NODE / "clients.js"), stack.url, str(clients_folder)],
        env={**os.environ, "NODE_PATH": str(modules)},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert finished.returncode == 0, finished.stderr
    results: Results = json.loads(finished.stdout)
    return results


@pytest.fixture
def results(request: pytest.FixtureRequest, scenarios: Results) -> Results:
    """Results of the scenario in the test's name: `test_<scenario>_...`."""
    found: Results = scenarios[request.function.__name__.split("_")[1]]
    assert "failed" not in found, found
    return found


def test_buffers_come_back_as_they_were_sent(results: Results) -> None:
    assert results == {
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


def test_streams_come_back_as_they_were_sent(results: Results) -> None:
    assert results["size"] == 3 * 1024 * 1024 + 1
    assert results["content"] == results["received"] == results["sent"]


def test_artifacts_are_saved_and_read_as_a_whole_and_file_by_file(results: Results, clients_folder: Path) -> None:
    files = {"9": "nine", "10": "ten", "dir/soft.txt": "soft", "dir/ü.json": '{"a": 1}', "linked": "link"}
    assert results["name"] == "many.zip"
    assert results["objects"] == files
    assert results["again"] == results["hash"]
    assert results["json"] == {"b": [1, "ü"]}
    assert results["text"] == "soft"
    with zipfile.ZipFile(clients_folder / "many.zip") as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == files


def test_jobs_are_created_polled_and_read(results: Results) -> None:
    info = results["info"]
    assert results["created"] == {"status": "CREATED", "secret": "string", "hash": True}
    assert (info["status"], sorted(info["resultHashes"])) == ("SUCCESS", ["all", "csv"])
    assert info["createTime"] <= info["startTime"] <= info["finishTime"]
    assert results["again"] == results["listed"] == info
    assert "secret" not in info
    assert results["stdout"] == "one\ntwo\n"
    assert results["csv"] == ["r.csv"]
    assert results["segments"] == ["one\n", "two\n"]
    assert (results["first"], results["rest"]) == ([0], [1])
    assert results["byStatus"] is True


def test_cancel_needs_the_secret_and_the_job_can_be_created_again(results: Results) -> None:
    assert results["wrong"] == FORBIDDEN
    assert (results["right"], results["status"]) == ("OK", "CANCELED")
    assert (results["second"], results["newSecret"]) == ("CREATED", True)
    assert results["old"] == FORBIDDEN
    assert results["last"] == "CANCELED"


def test_external_jobs_can_have_any_id(results: Results) -> None:
    job_hash = "not a hash: some/external job ü"
    assert (results["created"], results["output"], results["update"]) == (job_hash, None, "OK")
    assert (results["info"]["status"], results["info"]["resultHashes"]) == ("SUCCESS", {"all": "x"})
    assert results["segments"] == [{"hash": job_hash, "outputNumber": 0, "output": "piece", "_id": f"{job_hash}+0"}]


def test_workers_are_listed_without_secrets(results: Results) -> None:
    (worker,) = results.values()
    assert sorted(worker) == ["clientId", "jobs", "labels", "lastSeen", "pool", "slots", "userId"]


def test_errors_are_what_the_clients_expect(results: Results) -> None:
    # getObject knows only the status.
    assert results.pop("getObject") == results.pop("subpath") == {"message": "404"}
    assert results == dict.fromkeys(("getMetadata", "twoHashes", "info", "output", "update", "cancel"), NOT_FOUND)


# The worker -----------------------------------------------------------------------------------------------------------


class ExternalStack:
    """A stack without workers of its own, which WebGME's worker serves."""

    def __init__(self, client: Client, label_jobs: Path) -> None:
        self.client = client
        self.label_jobs = label_jobs

    def start(self, folder: Path, **fields: Any) -> JobInfo:
        return self.client.create_job(self.client.upload_folder(folder), **fields)

    def run(self, folder: Path, **fields: Any) -> JobInfo:
        return self.client.wait(self.start(folder, **fields).hash, 30)


@pytest.fixture(scope="module")
def external(modules: Path, backends: Callable[[], Mapping[str, str]]) -> Iterator[ExternalStack]:
    if shutil.which("unzip") is None:
        lacking("node", "WebGME's worker needs unzip, which is not installed.")
    with memory_folder() as folder:
        yield from _external(folder, modules, backends())


def _external(folder: Path, modules: Path, backends: Mapping[str, str]) -> Iterator[ExternalStack]:
    label_jobs = folder / "label_jobs.json"
    # A worker that is not seen for five intervals is lost, and its job runs again: a busy machine needs some seconds.
    settings = {"EXECUTOR_WORKER_REFRESH_INTERVAL": "1500", "EXECUTOR_LABEL_JOBS": str(label_jobs)}
    label_jobs.write_text("{}")
    with (
        closing(StackProcess(folder / "data", "--slots", "0", settings={**settings, **backends})) as stack,
        webgme_worker(modules, stack.url, folder),
        stack.client as client,
    ):
        yield ExternalStack(client, label_jobs)
    # The worker's log also has the output of its jobs. One job's command fails on purpose; no other error may occur.
    errors = [line for line in (folder / "errors.log").read_text().splitlines() if "error" in line.lower()]
    assert all(line.endswith(" exec error: 3") for line in errors), errors


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
def test_the_same_job_has_the_same_outcome_on_either_worker(
    external: ExternalStack, stack: StackProcess, tmp_path: Path, name: str
) -> None:
    script, artifacts = SCRIPTS[name]
    # WebGME's worker does not wait for its output files to exist: without the pause, the outcome would be a race.
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


def test_output_from_webgmes_worker_is_readable_while_the_job_runs(external: ExternalStack, tmp_path: Path) -> None:
    proceed = tmp_path / "proceed"
    script = f"echo first; while [ ! -e {proceed} ]; do sleep 0.05; done; echo last"
    job = external.start(job_folder(tmp_path / "slow", script, outputInterval=20))
    until(lambda: [segment.output for segment in external.client.output(job.hash)] == ["first\n"])
    assert external.client.job(job.hash).status == "RUNNING"
    proceed.touch()
    assert external.client.wait(job.hash, 30).status == "SUCCESS"
    assert [segment.output for segment in external.client.output(job.hash)] == ["first\n", "last\n"]


def test_webgmes_worker_is_listed_with_its_jobs_and_cancels_them(external: ExternalStack, tmp_path: Path) -> None:
    job = external.start(job_folder(tmp_path / "long", "exec sleep 600"))
    assert job.secret is not None

    def running() -> bool:
        return [found.hash for worker in external.client.workers() for found in worker.jobs] == [job.hash]

    until(running)
    external.client.cancel(job.hash, job.secret)
    canceled = external.client.wait(job.hash, 30)
    assert (canceled.status, canceled.cancel_requested) == ("CANCELED", False)
    assert read(external.client, canceled) == b""


def test_a_label_job_gives_webgmes_worker_the_label(external: ExternalStack, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    job = external.start(job_folder(tmp_path / "special", f"cat {marker}"), labels=["special"])
    label_job = external.client.upload_folder(job_folder(tmp_path / "label", f"echo labeled > {marker}"))
    assert external.client.job(job.hash).status == "CREATED"
    external.label_jobs.write_text(json.dumps({"special": label_job}))
    finished = external.client.wait(job.hash, 30)
    assert (finished.status, finished.labels) == ("SUCCESS", ("special",))
    assert read(external.client, finished) == b"labeled\n"
    assert [worker.labels for worker in external.client.workers()] == [("special",)]


def read(client: Client, job: JobInfo) -> bytes:
    return b"".join(client.chunks(job.result_hashes["all"], "job_stdout.txt"))


# WebGME's server ------------------------------------------------------------------------------------------------------

PEER = Path(__file__).parents[2] / "bench/servers/peer_server.js"
"""WebGME's own blob and executor API, with collections in memory instead of MongoDB."""


@pytest.fixture
def webgme_server(modules: Path, tmp_path: Path) -> Iterator[str]:
    """The address of WebGME's own server, which has WebGME's own worker."""
    server = subprocess.Popen(
        ["node", "--no-warnings", str(PEER), str(tmp_path / "blobs")],
        env={**os.environ, "NODE_PATH": str(modules)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            with webgme_worker(modules, url, tmp_path):
                yield url
        finally:
            server.kill()


def test_our_client_works_with_webgmes_server(webgme_server: str, tmp_path: Path) -> None:
    with Client(webgme_server) as client:
        # WebGME's worker does not wait for its output files to exist.
        job = client.run(["sh", "-c", "echo data > result.txt; sleep 0.5; echo out; echo err >&2"])
        assert job.status == "SUCCESS"
        result = job.results["all"]
        assert {"job_stderr.txt", "job_stdout.txt", "result.txt"} <= set(result.files())
        assert (result.read("job_stdout.txt"), result.read("result.txt")) == (b"out\n", b"data\n")
        assert job.download(tmp_path / "results") == len(result.files())
        failed = client.run(["sh", "-c", "sleep 0.5; exit 3"])
        assert failed.status == "FAILED_TO_EXECUTE"
        running = client.submit(["sleep", "600"])
        until(lambda: client.job(running.hash).status == "RUNNING")
        running.cancel()
        until(lambda: client.job(running.hash).status == "CANCELED")
        assert [(found.hash, found.status) for found in client.jobs("SUCCESS")] == [(job.hash, "SUCCESS")]
