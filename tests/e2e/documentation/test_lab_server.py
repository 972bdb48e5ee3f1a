"""docs/how-to/lab-server.md: the unit, the compose file, TLS, and a backup that is restored."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest
import yaml
from nginx_process import free_port, nginx
from page_shell import blocks
from requirement import lacking
from stack_process import PROJECT, StackProcess, StartStack, environment, job_folder, run, until

from cloud_executor import Client
from deploy import backup

SERVER = PROJECT / "deploy" / "server"
PAGE = PROJECT / "docs" / "how-to" / "lab-server.md"
NAME = "executor.example.org"


def unit() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(SERVER / "cloud-executor.service")
    return parser["Service"]


def settings() -> dict[str, str]:
    lines = (SERVER / "executor.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("The check of the unit needs systemd-analyze, which is not installed.")
    # systemd checks that the program exists.
    content = (SERVER / "cloud-executor.service").read_text()
    changed = content.replace("/opt/cloud-executor/.venv/bin/executor", "/bin/true")
    assert changed != content
    path = tmp_path / "cloud-executor.service"
    path.write_text(changed)
    checked = subprocess.run(
        [program, "verify", "--man=no", path], env=environment(), capture_output=True, text=True, timeout=60
    )
    about_it = [line for line in checked.stderr.splitlines() if "cloud-executor" in line]
    assert (checked.returncode, about_it) == (0, [])


def test_the_command_and_the_settings_of_the_unit_start_a_server_with_tokens(tmp_path: Path) -> None:
    program, *arguments = shlex.split(unit()["ExecStart"])
    assert program == "/opt/cloud-executor/.venv/bin/executor"
    assert unit()["EnvironmentFile"] == "/etc/cloud-executor/executor.env"
    assert arguments[0] == "up"
    (port, data) = arguments.index("--port") + 1, arguments.index("--data") + 1
    assert f"server 127.0.0.1:{arguments[port]};" in (SERVER / "nginx.conf").read_text()
    assert arguments[data] == f"/var/lib/{unit()['StateDirectory']}"
    assert set(arguments) == {"up", "--port", arguments[port], "--data", arguments[data]}
    (tmp_path / "data").mkdir()
    made = run("token", "create", "admin", "--role", "admin", "--data", tmp_path / "data", **settings())
    with closing(StackProcess(tmp_path / "data", settings=settings())) as stack:
        with Client(stack.url, token=made.stdout.decode().strip()) as admin:
            assert list(admin.jobs()) == []
        assert httpx.get(f"{stack.url}/rest/executor").status_code == 401
        # SIGTERM of systemd goes to the main process only: KillMode=mixed.
        assert stack.stop() == 0
        # Otherwise the first start would print a token into the system's log.
        assert stack.process.stdout is not None
        assert "token" not in stack.process.stdout.read()


def test_the_server_works_behind_tls(start_stack: StartStack, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        lacking("nginx", "The test needs openssl, which is not installed.")
    (make_certificate,) = blocks(PAGE, "console")
    # A browser knows the server by its name; the client of this test, by its address.
    make_certificate = make_certificate.replace("subjectAltName=", "subjectAltName=IP:127.0.0.1,")
    subprocess.run(["sh", "-ec", make_certificate], cwd=tmp_path, check=True, timeout=60)
    stack = start_stack("--slots", "1", **settings())
    token = run("token", "create", "ada", "--data", stack.data, **settings()).stdout.decode().strip()
    port = free_port()
    replacements = {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "127.0.0.1:8889": stack.url.removeprefix("http://"),
        "/etc/ssl/executor/": f"{tmp_path}/tls/",
    }
    with nginx(tmp_path / "nginx", "deploy/server/nginx.conf", replacements, port):
        url = f"https://127.0.0.1:{port}"
        with httpx.Client(verify=False, headers={"Host": NAME}) as browser:  # noqa: S501 - a certificate of the test
            assert browser.get(url).status_code == 200
            assert browser.get(f"{url}/rest/executor").status_code == 401
            post = browser.post(
                f"{url}/rest/blob/createFile/a",
                content=b"a" * 3_000_000,
                headers={"Origin": f"https://{NAME}", "Authorization": f"Bearer {token}"},
            )
            assert post.status_code == 200, post.text
            refused = browser.get(f"{url}/rest/executor", headers={"Host": "elsewhere.org"})
            assert refused.status_code in (401, 403)
        listed = run("list", EXECUTOR_URL=url, EXECUTOR_TOKEN=token, SSL_CERT_FILE=f"{tmp_path}/tls/certificate.pem")
        assert listed.returncode == 0, listed.stderr
        assert b"certificate" in run("list", EXECUTOR_URL=url, EXECUTOR_TOKEN=token).stderr


def test_the_compose_file_names_files_that_exist() -> None:
    compose = yaml.safe_load((SERVER / "compose.yaml").read_text())
    assert set(compose) == {"services", "volumes"}
    executor, proxy = compose["services"]["executor"], compose["services"]["nginx"]
    context = (SERVER / executor["build"]["context"]).resolve()
    assert context == PROJECT
    assert (context / executor["build"]["dockerfile"]).is_file()
    assert (SERVER / executor["env_file"]).is_file()
    mounted = [volume.split(":")[0] for volume in proxy["volumes"]]
    assert mounted == ["./nginx.conf", "./tls"]
    assert (SERVER / mounted[0]).is_file()
    assert executor["volumes"] == ["data:/data"]
    assert list(compose["volumes"]) == ["data"]
    assert proxy["ports"] == ["443:443"]
    assert "ports" not in executor
    # The command adapts the address in nginx.conf.
    script = proxy["command"][-1]
    old, new = re.findall(r"s/([^/]+)/([^/]+)/", script)[0]
    assert old in (SERVER / "nginx.conf").read_text()
    assert new.split(":")[0] in compose["services"]
    lines = (SERVER / "Dockerfile").read_text().splitlines()
    (start,) = (line for line in lines if line.startswith("CMD"))
    assert f'"--port", "{new.split(":")[1]}"' in start


def test_a_backup_is_restored(start_stack: StartStack, tmp_path: Path) -> None:
    stack = start_stack("--slots", "1", EXECUTOR_AUTH="open,token", EXECUTOR_LEASE="10", EXECUTOR_TOKEN_PEPPER="pepper")
    token = run("token", "create", "ada", "--data", stack.data, EXECUTOR_TOKEN_PEPPER="pepper").stdout.decode().strip()
    copies = tmp_path / "backup"

    def made() -> Path:
        command = [sys.executable, "-m", "deploy.backup", "create", str(stack.data), str(copies)]
        finished = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60)
        assert finished.returncode == 0, finished.stderr
        return Path(finished.stdout.strip())

    with Client(stack.url, token=token) as client:
        first = client.run(job_folder(tmp_path / "first", "echo first > result.txt"))
        made()
        proceed = tmp_path / "proceed"
        waiting = client.submit(["sh", "-c", f"while ! [ -e {proceed} ]; do sleep 0.05; done; echo later"])
        until(lambda: waiting.refresh().status == "RUNNING")
        latest = made()  # while a job runs
        lost = client.upload_file(tmp_path / "first" / "executor_config.json")
    stack.stop()
    assert len(list(copies.glob("executor-*.sqlite"))) == 2
    assert not list(copies.rglob("*unfinished*"))
    shutil.rmtree(stack.data)
    proceed.touch()

    command = [sys.executable, "-m", "deploy.backup", "restore", str(copies), str(stack.data)]
    restored = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60)
    assert (restored.returncode, restored.stdout.strip()) == (0, str(latest)), restored.stderr
    again = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60)
    assert (again.returncode, again.stderr) == (
        1,
        f"{stack.data} already contains executor.sqlite: move the folder away, or restore to another folder.\n",
    )
    stack = start_stack("--slots", "1", EXECUTOR_AUTH="token", EXECUTOR_TOKEN_PEPPER="pepper")
    with Client(stack.url, token=token) as client:
        job = client.job(first.hash)
        assert (job.status, job.results["all"].read("result.txt")) == ("SUCCESS", b"first\n")
        # The job that was running at the time of the backup runs again.
        assert client.job(waiting.hash).wait(60).results["all"].read("job_stdout.txt") == b"later\n"
        assert lost is not None


def test_an_unfinished_backup_is_not_restored(tmp_path: Path) -> None:
    data, copies = tmp_path / "data", tmp_path / "backup"
    data.mkdir()
    with pytest.raises(backup.BackupFailed, match=r"has no executor\.sqlite"):
        backup.back_up(data, copies)
    with closing(sqlite3.connect(data / "executor.sqlite")) as database:
        database.execute("CREATE TABLE t (x)")
        database.commit()
    content = data / "blobs" / "wg-content" / "ab" / "c"
    content.parent.mkdir(parents=True)
    content.write_bytes(b"content")
    (copies / "blobs").mkdir(parents=True)
    (copies / "blobs" / "wg-content").write_bytes(b"")  # the blobs cannot be copied
    with pytest.raises(OSError):
        backup.back_up(data, copies)
    with pytest.raises(backup.BackupFailed, match="contains no backup"):
        backup.restore(copies, tmp_path / "restored")
    (copies / "blobs" / "wg-content").unlink()
    backup.back_up(data, copies)
    backup.restore(copies, tmp_path / "restored")
    assert (tmp_path / "restored" / content.relative_to(data)).read_bytes() == b"content"
