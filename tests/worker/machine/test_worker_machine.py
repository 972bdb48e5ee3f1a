"""Test the configuration of worker VMs, worker_vm/cloud-init.yaml."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from requirement import lacking
from worker_harness import until
from worker_machine import TEMPLATE, VALUES, machine_file, unit_command, written_files

from worker_vm.worker.main import main

ENVIRONMENT = {"EXECUTOR_SANDBOX": "container", "EXECUTOR_POOLS": '[{"name": "default", "image": "a b"}]'}
METADATA_SERVER = "169.254.169.254"
ELSEWHERE = "203.0.113.9"
FURTHER = "203.0.114.9"
MACHINE = "172.17.0.1"


@pytest.fixture
def files() -> dict[str, str]:
    return written_files(machine_file(ENVIRONMENT))


def test_cloud_init_accepts_the_file(tmp_path: Path) -> None:
    if shutil.which("cloud-init") is None:
        lacking("cloud-init", "The program cloud-init is not installed.")
    file = tmp_path / "user-data"
    file.write_text(machine_file(ENVIRONMENT))
    done = subprocess.run(
        ["cloud-init", "schema", "--config-file", str(file)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    file.write_text(file.read_text().replace("write_files:", "write_files: none\nother:"))
    assert subprocess.run(["cloud-init", "schema", "--config-file", str(file)], capture_output=True).returncode != 0


def test_the_file_is_within_the_size_limit_of_metadata() -> None:
    assert len(machine_file(ENVIRONMENT | {"EXECUTOR_MORE": "x" * 100_000})) < 256 * 1024


def test_terraform_provides_each_value() -> None:
    wanted = set(re.findall(r"\$\{(\w+)\}", TEMPLATE.read_text()))
    assert wanted == VALUES.keys() | {"environment"}
    (given,) = re.findall(
        r'templatefile\("[^"]*/worker_vm/cloud-init.yaml", \{$(.*?)^ +\}\)',
        (TEMPLATE.parents[1] / "terraform/modules/cloud_executor/workers.tf").read_text(),
        re.DOTALL | re.MULTILINE,
    )
    assert set(re.findall(r"^ +(\w+) += ", given, re.MULTILINE)) == wanted


def test_every_named_file_is_written(files: dict[str, str]) -> None:
    named = set(re.findall(r"/etc/(?:cloud-executor|systemd)/[\w./-]+", machine_file(ENVIRONMENT)))
    assert named == {path for path in files if not path.startswith(("/etc/docker/", "/etc/fluent-bit/"))}


@pytest.mark.parametrize("name", ["close-metadata-server", "install-gpu-driver", "make-disks", "make-work-folder"])
def test_the_scripts_are_valid_bash(files: dict[str, str], name: str) -> None:
    script = files[f"/etc/cloud-executor/{name}.sh"]
    subprocess.run(["bash", "-n"], input=script.encode(), check=True, timeout=10)


def test_the_worker_accepts_its_command_line(files: dict[str, str]) -> None:
    command = unit_command(files, "ExecStart")
    options = command[command.index(VALUES["image"]) + 1 :]
    environment = [command[place + 1] for place, word in enumerate(command) if word == "--env"]
    assert environment == ["HEALTH_PORT=8080", "EXECUTOR_STOP_SECONDS=20"]
    given = main.make_context("worker", options).params
    given.pop("health_port")
    assert given == {
        "pool": "default",
        "slots": 4,
        "origin_url": "https://api.example",
        "work": Path("/var/lib/cloud-executor/work"),
        "disks": False,
        "idle_minutes": None,
        "check": True,
        "end_when_idle": False,
    }


def test_the_worker_uses_the_disks_that_the_machine_makes() -> None:
    files = written_files(machine_file(ENVIRONMENT, disks="4", disk_mib="1000", disks_option="--disks"))
    unit = files["/etc/systemd/system/cloud-executor-worker.service"]
    steps = [step.split() for step in re.findall(r"^ExecStartPre=(.+)$", unit, re.MULTILINE)]
    names = [Path(step[1]).name for step in steps]
    assert names.index("make-work-folder.sh") < names.index("make-disks.sh")
    work, _, disks, mib = steps[names.index("make-disks.sh")][2:]
    command = unit_command(files, "ExecStart")
    options = command[command.index(VALUES["image"]) + 1 :]
    given = main.make_context("worker", options).params
    assert (disks, mib, given["disks"], str(given["work"])) == ("4", "1000", True, work)


def test_the_worker_gets_its_variables_and_enough_time_to_stop(files: dict[str, str]) -> None:
    assert files["/etc/cloud-executor/worker.env"].splitlines() == [
        f"{name}={value}" for name, value in ENVIRONMENT.items()
    ]
    assert unit_command(files, "ExecStop")[-3:] == ["-t", "25", "cloud-executor-worker"]
    assert "EXECUTOR_STOP_SECONDS=20" in unit_command(files, "ExecStart"), "the worker must stop before it is killed"
    assert unit_command(files, "TimeoutStopSec") == ["30"]


def test_memory_shortage_ends_jobs_before_the_worker(files: dict[str, str]) -> None:
    command = unit_command(files, "ExecStart")
    assert command[command.index("--oom-score-adj") + 1] == "-900"


def test_the_worker_can_count_the_open_files_of_jobs(files: dict[str, str]) -> None:
    command = " ".join(unit_command(files, "ExecStart"))
    assert "--pid host" in command and "--cap-add SYS_PTRACE" in command


def test_containers_of_jobs_cannot_connect_to_each_other(files: dict[str, str]) -> None:
    assert json.loads(files["/etc/docker/daemon.json"])["icc"] is False


def test_jobs_can_run_their_own_programs(files: dict[str, str], tmp_path: Path) -> None:
    """Even though /var is mounted noexec."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        lacking("docker", "Only root can see what mounts do.")
    script = tmp_path / "make-work-folder.sh"
    script.write_text(files["/etc/cloud-executor/make-work-folder.sh"])
    mounted = tmp_path / "var"
    mounted.mkdir()
    steps = f"""
        set -e
        mount -t tmpfs -o noexec,mode=755 tmpfs {mounted}
        mkdir {mounted}/work
        printf '#!/bin/sh\\necho ran\\n' > {mounted}/work/program
        chmod +x {mounted}/work/program
        {mounted}/work/program 2>/dev/null && exit 1
        bash {script} {mounted}/work
        bash {script} {mounted}/work
        {mounted}/work/program
        grep -c " {mounted}/work " /proc/self/mountinfo
    """
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", steps], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.split() == ["ran", "1"]


# The firewall -------------------------------------------------------------------------------------------------------


class Network:
    """A VM, a container on Docker's bridge, and the VM's surroundings, each in its own network namespace."""

    def __init__(self) -> None:
        self._prefix = f"t{os.getpid()}"
        self._server: subprocess.Popen[bytes] | None = None
        self._names = [self.name(part) for part in ("vm", "job", "out")]

    def name(self, part: str) -> str:
        return f"{self._prefix}-{part}"

    def run(self, part: str, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ip", "netns", "exec", self.name(part), *command], capture_output=True, text=True, timeout=30
        )

    def set_up(self) -> None:
        for name in self._names:
            _ip("netns", "add", name)
        steps = {
            "vm": (
                "ip link set lo up",
                "ip link add docker0 type bridge",
                f"ip address add {MACHINE}/16 dev docker0",
                "ip link set docker0 up",
                f"ip link add job0 type veth peer name eth0 netns {self.name('job')}",
                "ip link set job0 master docker0 up",
                f"ip link add ens4 type veth peer name eth0 netns {self.name('out')}",
                "ip address add 198.51.100.1/24 dev ens4",
                "ip link set ens4 up",
                f"ip route add {METADATA_SERVER} dev ens4",
                f"ip route add {ELSEWHERE} dev ens4",
                f"ip route add {FURTHER} dev ens4",
                "sysctl -qw net.ipv4.ip_forward=1",
                # As the engine does.
                "iptables --wait --new-chain DOCKER-USER",
                "iptables --wait --append FORWARD --jump DOCKER-USER",
            ),
            "job": (
                "ip link set lo up",
                "ip address add 172.17.0.2/16 dev eth0",
                "ip link set eth0 up",
                f"ip route add default via {MACHINE}",
            ),
            "out": (
                "ip link set lo up",
                "ip address add 198.51.100.2/24 dev eth0",
                f"ip address add {METADATA_SERVER}/32 dev lo",
                f"ip address add {ELSEWHERE}/32 dev lo",
                f"ip address add {FURTHER}/32 dev lo",
                "ip link set eth0 up",
                "ip route add 172.17.0.0/16 via 198.51.100.1",
            ),
        }
        for part, commands in steps.items():
            for command in commands:
                done = self.run(part, *command.split())
                if done.returncode != 0:
                    lacking("docker", f"Networks cannot be made here: {done.stderr.strip()}")

    def serve(self, part: str) -> subprocess.Popen[bytes]:
        """Start a server on port 80 of all addresses."""
        program = "import socket\nserver = socket.create_server(('', 80))\nwhile True: server.accept()[0].close()"
        return subprocess.Popen(["ip", "netns", "exec", self.name(part), sys.executable, "-c", program])

    def reaches(self, part: str, address: str) -> bool:
        program = f"import socket; socket.create_connection(({address!r}, 80), timeout=5)"
        return self.run(part, sys.executable, "-c", program).returncode == 0

    def tear_down(self) -> None:
        for name in self._names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        lacking("docker", f"Networks cannot be made here: {done.stderr.strip()}")


@pytest.fixture
def network() -> Iterator[Network]:
    if os.geteuid() != 0 or any(shutil.which(program) is None for program in ("ip", "iptables", "sysctl")):
        lacking("docker", "Only root can make networks, with the programs ip, iptables and sysctl.")
    found = Network()
    servers = []
    try:
        found.set_up()
        servers = [found.serve("vm"), found.serve("out")]
        until(lambda: found.reaches("vm", "127.0.0.1") and found.reaches("vm", METADATA_SERVER))
        yield found
    finally:
        for server in servers:
            server.kill()
            server.wait(30)
        found.tear_down()


@pytest.mark.parametrize(
    ("egress", "reached"),
    [
        ("0.0.0.0/0", [ELSEWHERE, FURTHER]),
        ("203.0.113.0/24 192.0.2.1/32", [ELSEWHERE]),
        (f"{METADATA_SERVER}/32 {MACHINE}/32", []),
        ("", []),
    ],
    ids=["everything", "a range", "what no job may reach", "nothing"],
)
def test_jobs_reach_the_ranges_of_their_pool_but_never_the_metadata_server_and_the_machine(
    network: Network, tmp_path: Path, egress: str, reached: list[str]
) -> None:
    addresses = [METADATA_SERVER, MACHINE, ELSEWHERE, FURTHER]
    assert [address for address in addresses if network.reaches("job", address)] == addresses
    script = tmp_path / "close-metadata-server.sh"
    files = written_files(machine_file(ENVIRONMENT, egress=egress))
    script.write_text(files["/etc/cloud-executor/close-metadata-server.sh"])
    for _ in range(2):
        done = network.run("vm", "bash", str(script))
        assert done.returncode == 0, done.stderr
    assert [address for address in addresses if network.reaches("job", address)] == reached
    assert network.reaches("vm", METADATA_SERVER), "the worker has the machine's own network"
    assert network.reaches("vm", FURTHER)
    rules = network.run("vm", "iptables", "--list-rules").stdout
    assert rules.count("-d 169.254.0.0/16") == 1, "running it again changes nothing"


def test_the_image_of_jobs_is_pulled_beside_the_workers_own(files: dict[str, str]) -> None:
    """The credentials are there before either pull, and a failure does not keep the worker from starting."""
    unit = files["/etc/systemd/system/cloud-executor-worker.service"]
    steps = re.findall(r"^ExecStartPre=(.+)$", unit, re.MULTILINE)
    credentials, other, own = (
        next(place for place, step in enumerate(steps) if word in step)
        for word in ("docker-credential-gcr", "cloud-executor-image.service", f"pull --quiet {VALUES['image']}")
    )
    assert credentials < other < own
    assert steps[other] == "-/usr/bin/systemctl start --no-block cloud-executor-image.service"
    pull = unit_command(files, "ExecStart", "cloud-executor-image")
    assert pull == ["/usr/bin/docker", "pull", "--quiet", VALUES["job_image"]]
    homes = {re.findall(r"^Environment=HOME=.+$", files[path], re.MULTILINE)[0] for path in files if "-image.s" in path}
    assert homes <= set(unit.splitlines())
