from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from datetime import timedelta
from pathlib import Path

import pytest

from cloud_executor.composition import open_jobs
from cloud_executor.model.jobs.pool import WorkerPool
from cloud_executor.settings import DEFAULT_POOL, NONCES, InvalidSetting, Settings

NAMES = {f"EXECUTOR_{field.name.upper()}" for field in fields(Settings)}


def test_without_variables_everything_has_its_default() -> None:
    assert Settings.from_env({}) == Settings()
    assert Settings.from_env({"PATH": "/bin", "executor_data": "x", "EXECUTOR": "y"}) == Settings()
    empty = {f"EXECUTOR_{field.name.upper()}": "" for field in fields(Settings) if "nonce" not in field.name}
    assert Settings.from_env(empty) == Settings()


def test_every_variable_is_read() -> None:
    environ = {
        "EXECUTOR_DATA": "/data",
        "EXECUTOR_OBJECTS": "s3",
        "EXECUTOR_JOBS": "google",
        "EXECUTOR_PROJECT": "my-project",
        "EXECUTOR_BUCKET": "my-bucket",
        "EXECUTOR_S3_ENDPOINT": "http://localhost:9000",
        "EXECUTOR_FIRESTORE_DATABASE": "my-database",
        "EXECUTOR_TOPIC_PREFIX": "my-topics",
        "EXECUTOR_WORKER_REGION": "us-central1",
        "EXECUTOR_LONGEST_JOB": "3600",
        "EXECUTOR_INLINE_LIMIT": "1000",
        "EXECUTOR_LARGEST_ZIP": "5000",
        "EXECUTOR_SWEEP_URL": "https://sweep.example.run.app",
        "EXECUTOR_PUSH_ACCOUNT": "push@my-project.iam.gserviceaccount.com",
        "EXECUTOR_PUSH_AUDIENCE": "dead-letter",
        "EXECUTOR_PUSH_UNVERIFIED": "1",
        "EXECUTOR_NONCE": "hush",
        "EXECUTOR_CONTAINER_RUNTIME": "runsc",
        "EXECUTOR_WORKER_NONCE": "hushed",
        "EXECUTOR_AUTH": "token, google",
        "EXECUTOR_ALLOW_OPEN": "yes",
        "EXECUTOR_TOKEN_PEPPER": "pepper",
        "EXECUTOR_ADMIN_TOKEN": f"cex_{'a' * 32}",
        "EXECUTOR_GOOGLE_AUDIENCES": "https://jobs.example.org, /projects/1/global/backendServices/2",
        "EXECUTOR_USERS": "Ada@example.org, domain:Example.org",
        "EXECUTOR_ADMINS": "ada@example.org",
        "EXECUTOR_PROXIES": "2",
        "EXECUTOR_ALLOWED_HOSTS": "jobs.example.org, *",
        "EXECUTOR_ALLOWED_ORIGINS": "https://webgme.example.org,http://localhost:3000/",
        "EXECUTOR_WORKER_REFRESH_INTERVAL": "1500",
        "EXECUTOR_CLEAR_OUTPUT_TIMEOUT": "250",
        "EXECUTOR_LABEL_JOBS": "/labels.json",
        "EXECUTOR_QUOTA_BYTES_PER_DAY": "1000000000000",
        "EXECUTOR_QUOTA_BYTES_STORED": "3",
        "EXECUTOR_QUOTA_JOBS_STORED": "2",
        "EXECUTOR_QUOTA_JOBS_WAITING": "1",
        "EXECUTOR_QUOTA_JOBS_RUNNING": "4",
        "EXECUTOR_QUOTA_REQUESTS_PER_MINUTE": "0",
        "EXECUTOR_ALLOW_LIST_ALL": "FALSE",
        "EXECUTOR_ALLOW_DELETE": "Yes",
        "EXECUTOR_KEEP_JOBS": "30",
        "EXECUTOR_WORKER_LABELS": "gpu, matlab ,,gpu",
        "EXECUTOR_EXTERNAL_WORKERS": "true",
        "EXECUTOR_LEASE": "5",
        "EXECUTOR_RETRIES": "0",
        "EXECUTOR_QUEUE_WINDOW": "7",
        "EXECUTOR_STOP_SECONDS": "2.5",
        "EXECUTOR_SANDBOX": "container",
        "EXECUTOR_IMAGE": "my-image",
        "EXECUTOR_NETWORK": "bridge",
        "EXECUTOR_JOB_CPUS": "0.5",
        "EXECUTOR_JOB_MEMORY": "100",
        "EXECUTOR_JOB_PROCESSES": "10",
        "EXECUTOR_JOB_DISK": "20",
        "EXECUTOR_JOB_ENV": '{"NODE_PATH": "/modules"}',
        "EXECUTOR_POOLS": '[{"name": "small", "slots": 3}]',
    }
    assert environ.keys() == NAMES - {"EXECUTOR_STAGING_BUCKET"}  # only with gcs
    assert Settings.from_env(environ) == Settings(
        data=Path("/data"),
        objects="s3",
        jobs="google",
        project="my-project",
        bucket="my-bucket",
        s3_endpoint="http://localhost:9000",
        firestore_database="my-database",
        topic_prefix="my-topics",
        worker_region="us-central1",
        longest_job=timedelta(hours=1),
        inline_limit=1000,
        largest_zip=5000,
        sweep_url="https://sweep.example.run.app",
        push_account="push@my-project.iam.gserviceaccount.com",
        push_audience="dead-letter",
        push_unverified=True,
        nonce="hush",
        container_runtime="runsc",
        worker_nonce="hushed",
        auth=frozenset({"token", "google"}),
        allow_open=True,
        token_pepper="pepper",
        admin_token=f"cex_{'a' * 32}",
        google_audiences=frozenset({"https://jobs.example.org", "/projects/1/global/backendServices/2"}),
        users=frozenset({"ada@example.org", "domain:example.org"}),
        admins=frozenset({"ada@example.org"}),
        proxies=2,
        allowed_hosts=frozenset({"jobs.example.org", "*"}),
        allowed_origins=frozenset({"https://webgme.example.org", "http://localhost:3000/"}),
        worker_refresh_interval=timedelta(milliseconds=1500),
        clear_output_timeout=timedelta(milliseconds=250),
        label_jobs=Path("/labels.json"),
        quota_bytes_per_day=10**12,
        quota_bytes_stored=3,
        quota_jobs_stored=2,
        quota_jobs_waiting=1,
        quota_jobs_running=4,
        quota_requests_per_minute=0,
        allow_list_all=False,
        allow_delete=True,
        keep_jobs=timedelta(days=30),
        worker_labels=frozenset({"gpu", "matlab"}),
        external_workers=True,
        lease=timedelta(seconds=5),
        retries=0,
        queue_window=7,
        stop_seconds=2.5,
        sandbox="container",
        image="my-image",
        network="bridge",
        job_cpus=0.5,
        job_memory=100,
        job_processes=10,
        job_disk=20,
        job_env={"NODE_PATH": "/modules"},
        pools=(
            WorkerPool(
                "small",
                labels=frozenset({"gpu", "matlab"}),
                slots=3,
                image="my-image",
                network="bridge",
                runtime="runsc",
                cpus=0.5,
                memory_mib=100,
                processes=10,
                disk_mib=20,
                env={"NODE_PATH": "/modules"},
                max_retries=0,
                external_workers=True,
            ),
        ),
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("A=1", "EXECUTOR_JOB_ENV: Invalid JSON"),
        ('["A"]', "EXECUTOR_JOB_ENV must be "),
        ('{"A": 1}', "EXECUTOR_JOB_ENV.A must be a string"),
        ('{"A=B": "1"}', "EXECUTOR_JOB_ENV has an invalid name"),
        ('{"ORIGIN_URL": "x"}', "EXECUTOR_JOB_ENV must not set ORIGIN_URL"),
        ('{"A": "secret\\u0000"}', "EXECUTOR_JOB_ENV.A must not contain the character NUL."),
    ],
)
def test_invalid_variables_for_jobs_are_rejected(text: str, error: str) -> None:
    with pytest.raises(InvalidSetting) as rejected:
        Settings.from_env({"EXECUTOR_JOB_ENV": text})
    assert str(rejected.value).startswith(error)
    assert "secret" not in str(rejected.value)


def test_variables_for_jobs_are_not_shown() -> None:
    settings = Settings.from_env({"EXECUTOR_JOB_ENV": '{"A": "secret"}', "EXECUTOR_POOLS": '[{"name": "a"}]'})
    assert settings.worker_pools[0].env == {"A": "secret"}
    assert "secret" not in repr(settings) + repr(settings.worker_pools)
    assert len({settings.worker_pools[0], WorkerPool("b")}) == 2


@pytest.mark.parametrize(
    "origin", ["webgme.example.org", "https://a.example/path", "ftp://a.example", "https://", "**"]
)
def test_an_origin_has_a_scheme_and_a_host(origin: str) -> None:
    with pytest.raises(InvalidSetting, match="EXECUTOR_ALLOWED_ORIGINS must be origins"):
        Settings.from_env({"EXECUTOR_ALLOWED_ORIGINS": f"https://b.example,{origin}"})


def test_output_may_be_kept_for_ever() -> None:
    assert Settings.from_env({"EXECUTOR_CLEAR_OUTPUT_TIMEOUT": "-1"}).clear_output_timeout is None


def test_a_folder_is_that_of_now_whatever_the_process_does_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert Settings.from_env({"EXECUTOR_DATA": "here"}).data == tmp_path / "here"
    assert Settings.from_env({"EXECUTOR_DATA": "~/here"}).data == Path("/home/someone/here")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("WORKER_REFRESH_INTERVAL", value) for value in ("0", "-1", "x", "1.5", "5s", "1" * 30, "1" * 5000)),
        *(("CLEAR_OUTPUT_TIMEOUT", value) for value in ("0", "-2", "never")),
        *(("LEASE", value) for value in ("0", "-1", "x", "9" * 30)),
        *(("RETRIES", value) for value in ("-1", "x", "1.0")),
        *(("QUEUE_WINDOW", value) for value in ("0", "-1", "x")),
        *(("JOB_CPUS", value) for value in ("0", "-1", "inf", "nan", "x")),
        *(("JOB_MEMORY", value) for value in ("0", "-1", "1.5", "1g")),
        *(("SANDBOX", value) for value in ("none", "docker")),
        *(("NETWORK", value) for value in ("host", "x")),
        *(("JOBS", value) for value in ("files", "firestore")),
        *(("TOPIC_PREFIX", value) for value in ("ab", "1abc", "goog-x", "a/b", "a" * 201)),
        *(("LONGEST_JOB", value) for value in ("0", "-1", "1h")),
        *(("ALLOW_LIST_ALL", value) for value in ("yes", "2", "on")),
    ],
)
def test_a_bad_value_is_refused_with_a_sentence_that_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        Settings.from_env({f"EXECUTOR_{name}": value})
    assert str(refused.value).startswith(f"EXECUTOR_{name} must be ")
    assert str(refused.value).endswith(".")
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("EXECUTOR_NONSE", "; use EXECUTOR_NONCE if you mean that"),
        ("EXECUTOR_", ""),
        ("EXECUTOR_XYZ", ""),
        ("EXECUTOR_data", "; use EXECUTOR_DATA if you mean that"),
        ("EXECUTOR_IMAGES", "; use EXECUTOR_IMAGE if you mean that"),
        ("EXECUTOR_MEMORY", "; use EXECUTOR_JOB_MEMORY if you mean that"),
        ("EXECUTOR_QUEUE", "; use EXECUTOR_JOBS"),
        ("EXECUTOR_MAX_LOSSES", "; use EXECUTOR_RETRIES"),
    ],
)
def test_an_unknown_variable_is_refused_by_name(name: str, hint: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        Settings.from_env({name: "x"})
    assert str(caught.value).startswith(f"{name} is not a known setting{hint}. Known settings: ")
    assert "EXECUTOR_NONCE" in str(caught.value)


@pytest.mark.parametrize("name", NONCES)
def test_an_empty_nonce_is_rejected(name: str) -> None:
    with pytest.raises(InvalidSetting, match=f"{name} is empty"):
        Settings.from_env({name: ""})


@pytest.mark.parametrize(
    ("token", "auth", "error"),
    [
        (f"cex_{'a' * 32}", "open", "EXECUTOR_ADMIN_TOKEN needs the method token"),
        (f"cex_{'a' * 31}", "token", "EXECUTOR_ADMIN_TOKEN must be cex_ and"),
        (f"cex_{'a' * 32} ", "token", "EXECUTOR_ADMIN_TOKEN must be cex_ and"),
        ("a" * 40, "token", "EXECUTOR_ADMIN_TOKEN must be cex_ and"),
    ],
)
def test_an_unusable_administrators_token_is_rejected_but_not_shown(token: str, auth: str, error: str) -> None:
    with pytest.raises(InvalidSetting, match=error) as refused:
        Settings.from_env({"EXECUTOR_ADMIN_TOKEN": token, "EXECUTOR_AUTH": auth})
    assert token.strip() not in str(refused.value)


def test_workers_and_clients_must_have_different_secrets() -> None:
    with pytest.raises(InvalidSetting, match="EXECUTOR_WORKER_NONCE is the same as EXECUTOR_NONCE"):
        Settings.from_env(dict.fromkeys(NONCES, "hush"))
    assert Settings.from_env({"EXECUTOR_DATA": ""}) == Settings()


def test_variables_of_the_client_are_no_mistake() -> None:
    assert Settings.from_env({"EXECUTOR_URL": "http://x", "EXECUTOR_REQUIRE": "docker"}) == Settings()


def test_settings_do_not_show_their_secrets_and_do_not_change() -> None:
    settings = Settings.from_env({"EXECUTOR_NONCE": "hush"})
    assert "hush" not in repr(settings)
    with pytest.raises(FrozenInstanceError):
        settings.nonce = "other"  # type: ignore[misc] - that it cannot be set is the point


def test_settings_reach_what_they_are_for(tmp_path: Path) -> None:
    environ = {
        "EXECUTOR_DATA": str(tmp_path / "data"),
        "EXECUTOR_LEASE": "7",
        "EXECUTOR_RETRIES": "9",
        "EXECUTOR_QUEUE_WINDOW": "5",
        "EXECUTOR_WORKER_REFRESH_INTERVAL": "100",
        "EXECUTOR_CLEAR_OUTPUT_TIMEOUT": "-1",
        "EXECUTOR_WORKER_LABELS": "gpu",
    }
    jobs = open_jobs(Settings.from_env(environ))
    assert jobs.options.lease == timedelta(seconds=7)
    assert jobs.options.retries == 9
    assert jobs.options.queue_window == 5
    assert jobs.options.worker_timeout == timedelta(milliseconds=500)
    assert jobs.options.clear_output_after is None
    job, _ = jobs.clients.create("j", ("gpu",))
    assert jobs.clients.get(job.hash).published_at is not None
    assert (tmp_path / "data" / "executor.sqlite").exists()


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"EXECUTOR_OBJECTS": "gcs"}, "EXECUTOR_BUCKET"),
        ({"EXECUTOR_OBJECTS": "s3"}, "EXECUTOR_BUCKET"),
        ({"EXECUTOR_BUCKET": "bucket"}, "EXECUTOR_OBJECTS"),
        (
            {"EXECUTOR_OBJECTS": "s3", "EXECUTOR_BUCKET": "bucket", "EXECUTOR_STAGING_BUCKET": "b"},
            "EXECUTOR_STAGING_BUCKET is set, but EXECUTOR_OBJECTS is s3",
        ),
        ({"EXECUTOR_SANDBOX": "container"}, "EXECUTOR_IMAGE"),
        (
            {"EXECUTOR_SANDBOX": "container", "EXECUTOR_POOLS": '[{"name": "a", "image": "i"}, {"name": "b"}]'},
            r"EXECUTOR_POOLS\[1\]\.image or EXECUTOR_IMAGE",
        ),
        ({"EXECUTOR_OBJECTS": "gcs", "EXECUTOR_BUCKET": "b", "EXECUTOR_S3_ENDPOINT": "http://a"}, "EXECUTOR_OBJECTS"),
        ({"EXECUTOR_OBJECTS": "s3", "EXECUTOR_BUCKET": "b", "EXECUTOR_S3_ENDPOINT": "a"}, "EXECUTOR_S3_ENDPOINT"),
        ({"EXECUTOR_JOBS": "google"}, "EXECUTOR_PROJECT"),
        ({"EXECUTOR_WORKER_REGION": "us-central1"}, "EXECUTOR_WORKER_REGION is set, but EXECUTOR_JOBS is sqlite"),
        ({"EXECUTOR_JOBS": "google", "EXECUTOR_PROJECT": "p"}, "EXECUTOR_OBJECTS must be gcs or s3"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(environ: dict[str, str], variable: str) -> None:
    with pytest.raises(InvalidSetting, match=variable):
        Settings.from_env(environ)


def test_the_staging_bucket_is_read() -> None:
    environ = {"EXECUTOR_OBJECTS": "gcs", "EXECUTOR_BUCKET": "bucket", "EXECUTOR_STAGING_BUCKET": "other"}
    assert Settings.from_env(environ).staging_bucket == "other"


def test_only_where_gcs_keeps_blobs_large_answers_are_redirects() -> None:
    assert Settings.from_env({}).inline_limit is None
    assert Settings.from_env({"EXECUTOR_OBJECTS": "gcs", "EXECUTOR_BUCKET": "bucket"}).inline_limit == 8 * 2**20


def test_without_pools_there_is_one_of_the_other_settings() -> None:
    assert Settings.from_env({}).worker_pools == (WorkerPool(DEFAULT_POOL, max_retries=3, external_workers=True),)
    environ = {"EXECUTOR_WORKER_LABELS": "gpu", "EXECUTOR_JOB_MEMORY": "7", "EXECUTOR_NETWORK": "bridge"}
    expected = WorkerPool(
        DEFAULT_POOL, frozenset({"gpu"}), network="bridge", memory_mib=7, max_retries=3, external_workers=True
    )
    assert Settings.from_env(environ).worker_pools == (expected,)


def test_pools_have_images_only_where_there_are_containers() -> None:
    environ = {"EXECUTOR_POOLS": '[{"name": "a", "image": "i", "images": ["*"]}]'}
    (plain,) = Settings.from_env(environ).worker_pools
    (contained,) = Settings.from_env(environ | {"EXECUTOR_SANDBOX": "container"}).worker_pools
    assert (plain.image, plain.images) == (None, ())
    assert (contained.image, contained.images) == ("i", ("*",))


def test_jobs_go_to_the_pools_of_the_settings(tmp_path: Path) -> None:
    pools = '[{"name": "plain"}, {"name": "special", "labels": ["gpu"]}]'
    jobs = open_jobs(Settings.from_env({"EXECUTOR_DATA": str(tmp_path), "EXECUTOR_POOLS": pools}))
    assert [
        jobs.clients.create(name, labels)[0].pool for name, labels in (("a", ()), ("b", ("gpu",)), ("c", ("x",)))
    ] == [
        "plain",
        "special",
        None,
    ]


@pytest.mark.parametrize(
    ("pools", "rest"),
    [
        ("{", ": Invalid JSON: Expecting property name enclosed in double quotes (character 1)."),
        ("{}", " must be a JSON list with at least one pool."),
        ("[]", " must be a JSON list with at least one pool."),
        ('[{"name": "a", "slots": 0}]', "[0].slots must be a whole number from 1 to 2147483647."),
    ],
)
def test_a_mistake_in_the_pools_is_told_with_its_place(pools: str, rest: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        Settings.from_env({"EXECUTOR_POOLS": pools})
    assert str(refused.value) == f"EXECUTOR_POOLS{rest}"
