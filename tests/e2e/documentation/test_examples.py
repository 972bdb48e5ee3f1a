"""Each example, run with the command of its README against a local stack; its output must be the one that is shown."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import xml.etree.ElementTree
import zipfile
from pathlib import Path

import pytest
from containers.docker_engine import IMAGE
from page_shell import Shell, blocks, open_shell
from requirement import lacking
from stack_process import PROJECT, StackProcess, StartStack

EXAMPLES = PROJECT / "examples"
PROGRAMS = {"heat_in_c": ("make", "cc"), "several_artifacts": ("node",)}
"""Programs that an example needs besides Python, bash, and curl."""

SHAPE = "{http://www.w3.org/2000/svg}polyline"

embedded = pytest.mark.parametrize("backends", ["embedded"], indirect=True)
"""The backends differ in nothing that an example uses."""


def run_example(name: str, folder: Path, stack: StackProcess, **replacements: str) -> Shell:
    """Run the command of an example's README in a copy of the example, and compare its output with the README's."""
    for program in PROGRAMS.get(name, ()):
        if shutil.which(program) is None:
            lacking(
                "node" if program == "node" else "compiler", f"The example needs {program}, which is not installed."
            )
    shell = open_shell(folder / name, stack, f"examples/{name}", **replacements)
    readme = EXAMPLES / name / "README.md"
    (command,), (shown,) = blocks(readme, "console"), blocks(readme, "text")
    assert shell.run(command) == shown
    return shell


def test_the_list_of_examples_is_complete() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    found = sorted(path.parent.name for path in EXAMPLES.glob("*/README.md"))
    assert len(found) == 6
    assert [name for name in found if f"({name}/README.md)" not in listed] == []


@embedded
def test_the_sweep_of_100_jobs_ends_in_a_plot(stack: StackProcess, tmp_path: Path) -> None:
    shell = run_example("epidemic_sweep", tmp_path, stack)
    plot = xml.etree.ElementTree.parse(shell.folder / "plot.svg")  # noqa: S314 - written by the example
    (line,) = plot.iter(SHAPE)
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert len(points) == 100
    # The final share z of the SIR model satisfies z = 1 - exp(-R0 z).
    r0, share = 5.5, (350 - points[-1][1]) / 300
    assert share == pytest.approx(1 - math.exp(-r0 * share), abs=0.002)
    assert share > 0.9


@embedded
def test_a_c_program_is_built_and_run(stack: StackProcess, tmp_path: Path) -> None:
    shell = run_example("heat_in_c", tmp_path, stack)
    assert [path.name for path in (shell.folder / "results").iterdir()] == ["profile.csv"]
    with (shell.folder / "results" / "profile.csv").open() as file:
        rows = [(float(row["x"]), float(row["temperature"])) for row in csv.DictReader(file)]
    # The exact solution is exp(-pi^2 t) sin(pi x).
    assert rows == [
        (x, pytest.approx(math.exp(-(math.pi**2) * 0.1) * math.sin(math.pi * x), abs=1e-4)) for x, _ in rows
    ]
    assert len(rows) == 101


@embedded
def test_jobs_share_a_large_input(stack: StackProcess, tmp_path: Path) -> None:
    shell = run_example("shared_input", tmp_path, stack)
    results = shell.folder / "results"
    with (results / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["SENSOR"], row["status"]) for row in rows] == [(str(number), "SUCCESS") for number in range(1, 5)]
    assert sorted(path.name for path in results.rglob("*") if path.is_file()) == ["results.csv", *["summary.txt"] * 4]
    with stack.client as client:
        contents = {client.metadata(row["job"])["content"]["data/measurements.csv"]["content"] for row in rows}
    assert len(contents) == 1


@embedded
def test_artifacts_have_the_files_of_their_patterns(stack: StackProcess, tmp_path: Path) -> None:
    shell = run_example("several_artifacts", tmp_path, stack)
    tables = [f"tables/growth-{growth}/population.csv" for growth in ("0.8", "1.0", "1.2")]
    with stack.client as client:
        (job,) = (job for job in client.jobs(limit=20) if set(job.results) == {"report", "tables", "all"})
        found = {name: sorted(result.files()) for name, result in job.results.items()}
    assert found["report"] == ["report.html"]
    assert found["tables"] == tables
    assert {"executor_config.json", "predators.js", "report.html", "job_stdout.txt", *tables} <= set(found["all"])
    last = (shell.folder / "results" / tables[1]).read_text().splitlines()[-1]
    # This quantity stays constant along a solution of the equations.
    assert invariant(*map(float, last.split(",")[1:])) == pytest.approx(invariant(10, 5), abs=0.01)


def invariant(prey: float, predators: float) -> float:
    return 0.075 * prey - math.log(prey) + 0.1 * predators - math.log(predators)


@embedded
def test_a_workflow_with_curl_links_results_to_the_next_job(stack: StackProcess, tmp_path: Path) -> None:
    run_example("curl_workflow", tmp_path, stack)
    with stack.client as client:
        analyses = [
            content
            for job in client.jobs(limit=20)
            if "height.csv" in (content := client.metadata(job.hash).get("content") or ())
        ]
    assert [entry["height.csv"]["contentType"] for entry in analyses] == ["softLink"]


def test_a_job_runs_in_its_container(engine_address: str, start_stack: StartStack, tmp_path: Path) -> None:
    pools = [{"name": "default", "image": IMAGE, "images": [IMAGE.partition(":")[0]], "slots": 1}]
    stack = start_stack(EXECUTOR_SANDBOX="container", EXECUTOR_POOLS=json.dumps(pools), DOCKER_HOST=engine_address)
    run_example("container", tmp_path, stack, **{"debian:stable-slim": IMAGE})
    with stack.client as client:
        (job,) = client.jobs()
        with zipfile.ZipFile(io.BytesIO(b"".join(client.chunks(job.hash)))) as source:
            config = json.loads(source.read("executor_config.json"))
        assert config["image"] == IMAGE
        assert job.results["primes"].read("primes.txt").split()[:5] == [b"2", b"3", b"5", b"7", b"11"]
