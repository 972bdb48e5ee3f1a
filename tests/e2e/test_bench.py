"""The benchmark as a program: it measures every case, names missing tools, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from requirement import lacking

from bench.__main__ import CASES, INTERRUPTED
from bench.limits import Limit
from bench.processes import tree
from bench.servers.queues import QUEUES
from bench.table import Result, Row, Target, table, verdict
from bench.workspace import BenchmarkError

PROJECT = Path(__file__).parent.parent.parent
QUICK = [sys.executable, "-m", "bench", "--quick"]
SECONDS = 150

WITHOUT_TOOLS = """
import bench.workspace
found = bench.workspace.program
bench.workspace.program = lambda name: None if name in ("wrk", "nginx") else found(name)
from bench.__main__ import main
main()
"""


@pytest.fixture(autouse=True)
def curl() -> None:
    if shutil.which("curl") is None:
        lacking("curl", "The benchmark transfers large files with curl.")


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}/exe").exists()]


def test_the_quick_benchmark_measures_every_figure_and_leaves_nothing(tmp_path: Path) -> None:
    data, report = tmp_path / "data", tmp_path / "report.json"

    run = subprocess.run(
        [*QUICK, "--data", str(data), "--json", str(report)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    rows = json.loads(report.read_text())["rows"]
    assert [(row["case"], row["figure"]) for row in rows] == [
        (case.name, row.title) for case in CASES for row in case.rows
    ]
    for row in rows:
        assert row["values"]["ours"][0] > 0, row
        assert all(values[0] > 0 for values in row["limits"].values()), row
        assert any(row["figure"] in line and row["case"] in line for line in run.stdout.splitlines()), row
        assert (row["target"] is None) == (row["met"] is None), row
    assert list(data.iterdir()) == []


def test_ctrl_c_stops_everything_and_still_reports(tmp_path: Path) -> None:
    data = tmp_path / "data"
    running = subprocess.Popen(
        [*QUICK, "--data", str(data), "--case", "small-uploads", "--case", "growth", "--reps", "20"],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + SECONDS
        while not any(data.glob("*/*/stack/blobs/wg-metadata/*/*")):  # wait until uploads are in flight
            assert running.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        started = tree(running.pid)
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=60)
    finally:
        running.kill()

    assert running.returncode == INTERRUPTED
    assert "Interrupted" in out
    assert "4 KiB uploads" in out
    assert "growth" not in out
    assert list(data.iterdir()) == []
    assert len(started) > 3
    assert alive(started) == []


def test_without_wrk_and_nginx_it_still_measures_and_says_how_to_install_them(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_TOOLS, "--quick", "--data", str(tmp_path / "data"), "--case", "metadata"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert "Python sendfile server, 300-byte files" in run.stdout
    assert "apt-get install --no-install-recommends wrk" in run.stdout
    assert "apt-get install --no-install-recommends nginx" in run.stdout


@pytest.mark.parametrize(
    "options", [["--reps", "0"], ["--case", "none"], ["--peer-modules", "/"], ["--data", "/dev/null/x"]]
)
def test_invalid_options_give_one_sentence_and_exit_code_2(options: list[str]) -> None:
    run = subprocess.run([*QUICK, *options], cwd=PROJECT, capture_output=True, text=True, timeout=SECONDS)

    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].startswith("Error: ")


def test_a_queue_that_is_not_installed_says_how_to_install_it() -> None:
    for name, queue in QUEUES.items():
        missing = replace(queue, programs=("no-such-program",))
        with pytest.raises(BenchmarkError, match=f"no-such-program.* is not installed. Install it: .*{name}"):
            missing.check()


def limit(name: str) -> Limit:
    return Limit(name, lambda _place: 1.0)


def test_the_share_of_the_limit_uses_medians_and_the_tightest_limit() -> None:
    row = Row("rate", "upload", "MiB/s", (limit("hash"), limit("disk")), Target(0.8, of_limit=True))
    result = Result("case", row, {"ours": [10.0, 81.0, 500.0]}, {"hash": [1000.0], "disk": [90.0, 100.0, 900.0]})

    assert result.limit() == ("disk", 100.0)
    assert result.share_of_limit("ours") == pytest.approx(0.81)
    assert result.met("ours") is True


def test_a_lower_time_is_better() -> None:
    result = Result("case", Row("p50", "latency", "ms", target=Target(20)), {"ours": [25.0], "theirs": [50.0]})

    assert result.met("ours") is False
    assert result.times_better("ours", "theirs") == 2.0


def test_the_table_and_the_verdict_name_missed_targets_and_figures_slower_than_the_peer() -> None:
    slow = Result("one", Row("p50", "slow", "ms", target=Target(20)), {"ours": [25.0], "theirs": [20.0]})
    fast = Result("two", Row("rate", "fast", "jobs/s", target=Target(40)), {"ours": [80.0], "theirs": [40.0]})
    missing = Result("three", Row("rate", "missing", "jobs/s", target=Target(40)))

    lines = table([slow, fast, missing], "ours", ["theirs"]).splitlines()
    assert "MISSED" in lines[2] and "0.80 x" in lines[2]
    assert "| met" in lines[3] and "2.00 x" in lines[3]
    assert "met" not in lines[4] and "MISSED" not in lines[4]
    assert verdict([slow, fast, missing], "ours", ["theirs"]) == (
        "1 of 2 targets met. Missed: slow. Slower than theirs: slow."
    )
