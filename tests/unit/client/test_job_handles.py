"""Test submitting, following, listing, and sweeping jobs with the Python client."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from servers.fake_server import URL, FakeServer

from cloud_executor import AsyncClient, Client, Conflict, Forbidden, InvalidSource, Job, NotFound
from cloud_executor.client.account.profiles import Profile, Profiles, choose_server
from cloud_executor.client.account.user_files import config_file, known_secret, secrets_folder


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only pauses advance."""
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr("time.monotonic", lambda: sum(pauses))
    return pauses


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in [name for name in os.environ if name.startswith("EXECUTOR_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "job"
    (found / "data").mkdir(parents=True)
    (found / "data" / "a.csv").write_text("a")
    (found / "sim.py").write_text("print()")
    config = {"cmd": "python3", "args": ["sim.py", "{X}", "${X}"], "resultArtifacts": [], "env": {"A": "1"}}
    (found / "executor_config.json").write_text(json.dumps(config))
    return found


# Submitting -----------------------------------------------------------------------------------------------------------


def test_a_command_becomes_a_config(server: FakeServer, folder: Path) -> None:
    job = server.client.submit(
        ["python3", "sim.py"],
        folder=folder,
        image="python:3.12",
        env={"B": "2"},
        timeout_seconds=90,
        cpus=2,
        memory_mib=512,
        retries=0,
        artifacts={"out": ["*.csv"]},
        labels=["gpu"],
        name="first",
        tags=["t"],
    )
    assert server.config_of(job.hash) == {
        "cmd": "python3",
        "args": ["sim.py"],
        "resultArtifacts": [{"name": "out", "resultPatterns": ["*.csv"]}],
        "outputInterval": 500,
        "env": {"B": "2"},
        "image": "python:3.12",
        "timeout": 90,
        "retries": 0,
        "resources": {"cpus": 2, "memoryMiB": 512},
    }
    assert (job.labels, job.name, job.tags, job.status) == (("gpu",), "first", ("t",), "CREATED")
    assert server.files_of(job.hash)["data/a.csv"] == b"a"


def test_settings_change_a_copy_of_the_folders_config(server: FakeServer, folder: Path) -> None:
    before = (folder / "executor_config.json").read_bytes()
    unchanged = server.client.submit(folder)
    assert server.files_of(unchanged.hash)["executor_config.json"] == before
    assert unchanged.hash == server.client.upload_folder(folder)
    changed = server.client.submit(str(folder), env={"B": "2"}, image=None)
    assert server.config_of(changed.hash) == json.loads(before) | {"env": {"A": "1", "B": "2"}}
    assert (folder / "executor_config.json").read_bytes() == before


def test_a_command_without_a_folder_has_only_its_config(server: FakeServer) -> None:
    job = server.client.submit(["echo", "ü"])
    assert list(server.files_of(job.hash)) == ["executor_config.json"]
    assert server.config_of(job.hash)["resultArtifacts"] == [{"name": "all", "resultPatterns": []}]


@pytest.mark.parametrize(
    ("source", "options", "sentence"),
    [
        ("missing", {}, "does not exist"),
        ([], {}, "The command is empty"),
        ([""], {}, "cmd must be a nonempty string"),
        (["\udcff"], {}, "not valid UTF-8"),
        ("job", {"folder": "job"}, "folder is for a command"),
        ("job.zip", {"env": {"A": "1"}}, "is a zip, which is sent unchanged"),
        ("job.zip", {"inputs": {"a": "b" * 40}}, "cannot have shared inputs"),
        ("job", {"inputs": {"../a": "b" * 40}}, "must be a relative path in the job's folder"),
        ("job", {"inputs": {"sim.py": "sim"}}, "is also a shared input"),
        (["./run"], {"folder": "job", "inputs": {"x": "sim"}}, "does not keep file modes"),
    ],
)
def test_sources_that_cannot_be_sent_are_explained(
    server: FakeServer,
    folder: Path,
    source: str | list[str],
    options: dict[str, object],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder.parent)
    (folder / "run").write_text("#!/bin/sh")
    (folder / "run").chmod(0o755)
    Path("job.zip").write_bytes(b"")
    Path("sim").write_text("")
    with pytest.raises(InvalidSource, match=sentence):
        server.client.submit(source, **options)  # type: ignore[arg-type]


def test_ignored_files_are_not_sent(server: FakeServer, folder: Path) -> None:
    for path in (".git/x", ".venv/x", "deep/__pycache__/x", "cache/x", "kept/.hg/x", "a.tmp", "b.tmp", "data/secret"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("")
    (folder / ".executorignore").write_text("# comment\n*.tmp\n!b.tmp\n/cache\nsecret\n!.hg/\n*.json\n")
    job = server.client.submit(folder)
    assert sorted(server.files_of(job.hash)) == ["b.tmp", "data/a.csv", "executor_config.json", "kept/.hg/x", "sim.py"]


def test_the_secret_of_a_new_job_is_kept_for_its_user_alone(server: FakeServer, folder: Path) -> None:
    job = server.client.submit(folder)
    (file,) = [path for path in secrets_folder().iterdir() if not path.name.startswith(".")]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    elsewhere = server.client.job(job.hash)
    assert elsewhere.secret is None
    elsewhere.cancel()
    assert elsewhere.refresh().status == "CANCELED"
    with pytest.raises(Forbidden, match="not known here"):
        Client("http://other.example", transport=server.transport).job(job.hash).cancel()


def test_old_secrets_are_deleted(server: FakeServer, folder: Path) -> None:
    job = server.client.submit(folder)
    (secrets_folder() / "old").touch()
    os.utime(secrets_folder() / "old", (0, 0))
    os.utime(secrets_folder() / ".cleaned", (0, 0))
    server.client.submit(folder, rerun=True)
    assert not (secrets_folder() / "old").exists()
    assert known_secret(URL, job.hash) == f"secret of {job.hash}"


def test_labels_that_an_existing_job_lacks_are_a_conflict(server: FakeServer, folder: Path) -> None:
    server.client.submit(folder)
    with pytest.raises(Conflict, match="no labels"):
        server.client.submit(folder, labels=["gpu"])


# Shared inputs --------------------------------------------------------------------------------------------------------


def test_shared_inputs_are_linked_into_the_folder(server: FakeServer, folder: Path, tmp_path: Path) -> None:
    mesh = server.put_file("mesh.bin", b"mesh")
    (tmp_path / "set" / "deep").mkdir(parents=True)
    (tmp_path / "set" / "deep" / "x").write_text("x")
    (folder / "executor_inputs.json").write_text(json.dumps({"data/mesh.bin": mesh, "set": "../set"}))
    (tmp_path / "local").write_text("local")
    job = server.client.submit(folder, inputs={"local.txt": tmp_path / "local"})
    files = server.files_of(job.hash)
    assert files["data/mesh.bin"] == b"mesh"
    assert (files["set/deep/x"], files["local.txt"], files["sim.py"]) == (b"x", b"local", b"print()")
    assert "executor_inputs.json" not in files
    again = server.client.submit(folder, inputs={"local.txt": tmp_path / "local"})
    assert again.hash == job.hash


def test_an_unknown_input_is_named(server: FakeServer, folder: Path) -> None:
    with pytest.raises(NotFound, match="input a/b is not stored: store it with `executor put`"):
        server.client.submit(folder, inputs={"a/b": "0" * 40})
    (folder / "executor_inputs.json").write_text("[]")
    with pytest.raises(InvalidSource, match="must be a JSON object"):
        server.client.submit(folder)


# Following ------------------------------------------------------------------------------------------------------------


def test_a_job_is_followed_to_its_results(server: FakeServer, folder: Path, tmp_path: Path) -> None:
    server.ending |= {"durations": {"run": 1.5}, "peakMemoryMiB": 7, "attempt": 2, "worker": "w"}
    job = server.client.run(folder)
    assert (job.succeeded, job.exit_code, job.durations["run"], job.peak_memory_mib) == (True, 0, 1.5, 7)
    assert (job.attempt, job.worker, job.document["peakMemoryMiB"]) == (2, "w", 7)
    result = job.results["all"]
    assert result.files() == ["job_stdout.txt", "deep/b.txt"]
    assert (result.read("deep/b.txt"), result.open("job_stdout.txt").readlines()) == (b"b", [b"output\n"])
    with pytest.raises(NotFound):
        result.open("missing")
    assert result.download(tmp_path / "new" / "out") == job.download(tmp_path / "all") == 2
    assert (tmp_path / "new" / "out" / "deep" / "b.txt").read_text() == "b"
    assert repr(job) == f"Job('{job.hash}', SUCCESS)"
    with pytest.raises(AttributeError):
        _ = job.nonsense  # type: ignore[attr-defined]


def test_the_first_poll_waits_for_a_change(server: FakeServer, folder: Path) -> None:
    job = server.client.submit(folder)
    job.wait()
    first = next(request for request in server.requests if "/info/" in request.url.path)
    assert first.url.params["status"] == "CREATED" and float(first.url.params["wait"]) > 0


def test_output_is_followed_or_comes_from_the_results(server: FakeServer, folder: Path) -> None:
    job = server.client.submit(folder)
    assert list(job.output()) == ["output\n", ""]
    streaming = server.client.submit(["echo"])
    server.output[streaming.hash] = ["a\n", "b\n"]
    assert list(streaming.output()) == ["a\n", "b\n"]
    assert streaming.finished


def test_a_server_that_waits_is_asked_without_pauses(clock: list[float]) -> None:
    states = [("CREATED", None), ("RUNNING", None), ("RUNNING", 3), ("SUCCESS", 3)]
    queries: list[dict[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        status, number = states[len(queries)]
        queries.append(dict(request.url.params))
        granted = {"X-Executor-Wait": "25"} if "wait" in request.url.params else {}
        return httpx.Response(200, json={"hash": "h", "status": status, "outputNumber": number}, headers=granted)

    Client(URL, transport=httpx.MockTransport(answer)).wait("h")
    assert queries == [
        {},
        {"wait": "25", "status": "CREATED", "outputNumber": "null"},
        {"wait": "25", "status": "RUNNING", "outputNumber": "null"},
        {"wait": "25", "status": "RUNNING", "outputNumber": "3"},
    ]


def test_a_job_with_jobs_ahead_is_polled_more_often(clock: list[float]) -> None:
    waits: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        waits.append(request.url.params.get("wait"))
        status = "CREATED" if len(waits) < 3 else "SUCCESS"
        document = {"hash": "h", "status": status, "jobsAhead": 7}
        return httpx.Response(200, json=document, headers={"X-Executor-Wait": "10"})

    Client(URL, transport=httpx.MockTransport(answer)).wait("h")
    assert waits == [None, "10", "10"]
    assert clock == [0.02]


@pytest.mark.parametrize("granted", ["25", "0", "nonsense", None])
def test_an_unchanged_job_is_never_polled_in_a_busy_loop(clock: list[float], granted: str | None) -> None:
    headers = {} if granted is None else {"X-Executor-Wait": granted}
    left = 5

    def answer(_: httpx.Request) -> httpx.Response:
        nonlocal left
        left -= 1
        return httpx.Response(200, json={"hash": "h", "status": "SUCCESS" if not left else "RUNNING"}, headers=headers)

    Client(URL, transport=httpx.MockTransport(answer)).wait("h")
    assert len(clock) >= 3 and min(clock) >= 0.02


# Lists ----------------------------------------------------------------------------------------------------------------


def test_conditions_also_hold_with_a_server_that_ignores_them(server: FakeServer) -> None:
    client = server.client
    for name, labels in (("a1", ["x"]), ("a2", ["y"]), ("b1", ["x"])):
        client.submit(["echo", name], name=name, labels=labels, tags=[name])
    assert [job.name for job in client.jobs()] == ["b1", "a2", "a1"]
    assert [job.name for job in client.jobs(order="oldest", limit=2)] == ["a1", "a2"]
    assert [job.name for job in client.jobs(label="x", name="a")] == ["a1"]
    assert [job.name for job in client.jobs(["CREATED", "RUNNING"], tag="b1")] == ["b1"]
    between = {"created_after": datetime(2026, 1, 31, 12, 0, 1, tzinfo=UTC)}
    assert [job.name for job in client.jobs(**between)] == ["b1", "a2"]  # type: ignore[arg-type]
    assert [job.name for job in client.jobs(created_before=between["created_after"])] == ["a1"]
    assert list(client.jobs(worker="w")) == []
    assert all(isinstance(job, Job) for job in client.jobs())


@pytest.mark.parametrize("knows_order", [True, False])
def test_lists_are_read_page_by_page(knows_order: bool) -> None:
    queries: list[dict[str, str]] = []
    numbers = range(5)

    def answer(request: httpx.Request) -> httpx.Response:
        query = dict(request.url.params)
        queries.append(query)
        order = list(reversed(numbers)) if knows_order else list(numbers)
        start, limit = int(query.get("after", 0)), int(query["limit"])
        page = {str(n): {"hash": str(n), "status": "SUCCESS", "createTime": f"{n}"} for n in order[start:][:limit]}
        following = {"after": str(start + limit), "limit": str(limit)} | ({"order": "newest"} if knows_order else {})
        more = start + limit < len(numbers)
        headers = {"Link": f'</rest/executor/?{httpx.QueryParams(following)}>; rel="next"'} if more else {}
        return httpx.Response(200, json=page, headers=headers)

    client = Client(URL, transport=httpx.MockTransport(answer))
    assert [job.hash for job in client.jobs(limit=3)] == ["4", "3", "2"]
    assert queries[0] == {"limit": "3", "order": "newest"}
    assert len(queries) == (1 if knows_order else 2)


# Sweeps ---------------------------------------------------------------------------------------------------------------


def test_map_runs_a_job_for_each_row_and_sends_shared_files_once(server: FakeServer, folder: Path) -> None:
    rows = [{"X": number, "Y": "y"} for number in range(20)]
    jobs = list(server.client.map(folder, rows, concurrency=5, progress=False, tags=["sweep"]))
    assert [server.config_of(job.hash)["args"][1:] for job in jobs] == [[str(n), "${X}"] for n in range(20)]
    assert server.config_of(jobs[3].hash)["env"] == {"A": "1", "X": "3", "Y": "y"}
    assert server.files_of(jobs[3].hash)["data/a.csv"] == b"a"
    assert all(job.succeeded and job.tags == ("sweep",) for job in jobs)
    assert server.paths().count("/rest/blob/createFile/sim.py") == 1
    assert server.most_unfinished <= 5


def test_map_keeps_modes_and_links(server: FakeServer, folder: Path) -> None:
    (folder / "sim.py").chmod(0o755)
    (job,) = server.client.map(folder, [{"X": 1}], progress=False)
    assert isinstance(server.blobs[job.hash]["content"], str)  # a zip


def test_map_rejects_what_is_no_variable(server: FakeServer, folder: Path) -> None:
    with pytest.raises(InvalidSource, match=r"'a b' in row 2 is not the name of a variable"):
        server.client.map(folder, [{"a": 1}, {"a b": 1}])
    with pytest.raises(InvalidSource, match="at least 1"):
        server.client.map(folder, [], concurrency=0)


# The server and the credentials ---------------------------------------------------------------------------------------


def test_the_server_comes_from_arguments_the_environment_or_a_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_server() == Profile("http://127.0.0.1:8888")
    lab, other = Profile("http://lab", None, "lab token"), Profile("http://other", "other nonce", None)
    Profiles("lab", {"lab": lab, "other": other}).save()
    assert stat.S_IMODE(config_file().stat().st_mode) == 0o600
    assert choose_server() == lab
    assert choose_server(profile="other") == other
    assert choose_server("http://lab/") == Profile("http://lab/", None, "lab token")
    assert choose_server("http://third") == Profile("http://third")
    assert choose_server("http://third", "n", "t") == Profile("http://third", "n", "t")
    monkeypatch.setenv("EXECUTOR_URL", "http://fourth")
    monkeypatch.setenv("EXECUTOR_TOKEN", "env token")
    assert choose_server() == Profile("http://fourth", None, "env token")
    assert choose_server("http://third") == Profile("http://third")
    assert choose_server(profile="other") == Profile("http://other", "other nonce", None)
    monkeypatch.setenv("EXECUTOR_PROFILE", "lab")
    assert choose_server() == lab


def test_the_google_identity_belongs_to_the_server_of_its_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    Profiles("run", {"run": Profile("https://a.run.app", google_identity=True)}).save()
    assert choose_server() == Profile("https://a.run.app", google_identity=True)
    assert choose_server("https://b.run.app") == Profile("https://b.run.app")
    monkeypatch.setenv("EXECUTOR_URL", "https://b.run.app")
    assert choose_server() == Profile("https://b.run.app")
    monkeypatch.setenv("EXECUTOR_GOOGLE_IDENTITY", "yes")
    assert choose_server() == Profile("https://b.run.app", google_identity=True)


def test_a_damaged_profile_file_is_named() -> None:
    from cloud_executor.client.errors import InvalidProfile

    config_file().parent.mkdir(parents=True)
    for content in ("{", "[]", '{"current": "a", "profiles": {"a": {"no": 1}}}'):
        config_file().write_text(content)
        with pytest.raises(InvalidProfile, match="is damaged: correct it"):
            Client()
    config_file().unlink()
    with pytest.raises(InvalidProfile, match=r"Profile 'lab' does not exist \(no profile is stored\)"):
        Client(profile="lab")


# asyncio --------------------------------------------------------------------------------------------------------------


def test_the_client_for_asyncio_has_the_same_methods(server: FakeServer, folder: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncClient(URL, transport=server.transport) as client:
            job = await client.submit(folder)
            assert [text async for text in job.output()] == ["output\n", ""]
            assert await job.download(tmp_path / "out") == 2
            first, second = await asyncio.gather(client.run(["echo", "1"]), client.run(["echo", "2"]))
            assert (first.succeeded, second.status) == (True, "SUCCESS")
            assert len([found async for found in client.jobs("SUCCESS")]) == 3
            swept = [found.hash async for found in client.map(folder, [{"X": 1}, {"X": 2}], progress=False)]
            assert len(set(swept)) == 2
            with pytest.raises(NotFound):
                await client.job("missing")
            assert (await (await job.rerun()).wait()).succeeded
            await (await client.submit(["echo", "3"])).cancel()

    asyncio.run(main())
