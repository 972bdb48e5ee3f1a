"""Tests of cloudbuild.yaml, parsed with the types of Cloud Build's client library."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.cloud.devtools.cloudbuild_v1.types import Build, BuildOptions
from google.protobuf.json_format import ParseDict, ParseError
from terraform_program import REPOSITORY, Document, of_type

TEXT = (REPOSITORY / "cloudbuild.yaml").read_text()
FILE: dict[str, Any] = yaml.safe_load(TEXT)

SET_BY_CLOUD_BUILD = {"PROJECT_ID", "COMMIT_SHA"}

SUBSTITUTION = re.compile(r"(?<!\$)(?:\$\$)*\$(?:\{(\w+)\}|([A-Za-z_]\w*))")

VALUES = {"_NAME": "x", "_REGION": "r", "_STATE_BUCKET": "state", "PROJECT_ID": "p", "COMMIT_SHA": "0123abc"}


def parsed(document: dict[str, Any]) -> Build:
    build = Build()
    ParseDict(document, Build.pb(build))
    return build


def substituted(text: str) -> str:
    """Fill in substitutions as Cloud Build does before a step starts."""
    filled = SUBSTITUTION.sub(
        lambda found: found[0].rpartition("$")[0] + VALUES[found[1] or found[2]],
        text,
    )
    return filled.replace("$$", "$")


@pytest.fixture
def steps() -> dict[str, Build]:
    return {step.id: step for step in parsed(FILE).steps}


def test_file_is_valid(steps: dict[str, Any]) -> None:
    assert list(steps) == ["test", "build", "push", "variables", "plan", "guard", "deploy", "tag"]
    assert all(step.name for step in steps.values())
    assert parsed(FILE).timeout.total_seconds() == 3600


@pytest.mark.parametrize("change", [{"step": []}, {"timeout": "an hour"}, {"options": {"logging": "SOMEWHERE"}}])
def test_invalid_file_is_rejected(change: dict[str, Any]) -> None:
    with pytest.raises(ParseError):
        parsed(FILE | change)


def test_steps_wait_for_existing_steps(steps: dict[str, Any]) -> None:
    seen = {"-"}
    for name, step in steps.items():
        assert set(step.wait_for) <= seen, name
        seen.add(name)


def test_push_and_deploy_wait_for_the_tests(steps: dict[str, Any]) -> None:
    def before(name: str) -> set[str]:
        direct = set(steps[name].wait_for) - {"-"}
        return direct.union(*(before(other) for other in direct))

    assert "test" in before("push")
    assert {"test", "push", "variables", "plan", "guard"} <= before("deploy")


def test_each_substitution_is_declared_used_and_documented() -> None:
    used = {first or second for first, second in SUBSTITUTION.findall(yaml.safe_dump(FILE))}
    declared = FILE["substitutions"].keys()
    assert used == declared | SET_BY_CLOUD_BUILD
    for name in declared | SET_BY_CLOUD_BUILD:
        assert re.search(rf"^#.*\b{name}\b", TEXT, re.MULTILINE), name


def test_trigger_sets_the_substitutions_and_requires_approval(production: list[Document]) -> None:
    (trigger,) = of_type(production, "google_cloudbuild_trigger")
    assert trigger["values"]["substitutions"].keys() == FILE["substitutions"].keys()
    assert trigger["values"]["filename"] == "cloudbuild.yaml"
    assert trigger["values"]["approval_config"] == [{"approval_required": True}]


def test_guard_rejects_a_plan_that_deletes_data(steps: dict[str, Any], tmp_path: Path) -> None:
    """The step runs as written, with a plan of this deployment that deletes its bucket."""
    (tmp_path / "terraform").mkdir()
    change = {"type": "google_storage_bucket", "address": "x", "change": {"actions": ["delete"]}}
    (tmp_path / "terraform/plan.json").write_text(json.dumps({"resource_changes": [change]}))
    shutil.copytree(REPOSITORY / "deploy", tmp_path / "deploy")
    command = [substituted(argument) for argument in steps["guard"].args]
    done = subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert (command[0], done.returncode) == ("python", 1)
    assert "The plan would delete or replace x." in done.stderr


def test_images_have_provenance_and_the_commit_as_tag() -> None:
    build = parsed(FILE)
    assert build.options.requested_verify_option == BuildOptions.VerifyOption.VERIFIED
    # Cloud Build requires this for builds that run as a user-managed account.
    assert build.options.logging == BuildOptions.LoggingMode.CLOUD_LOGGING_ONLY
    images = [substituted(image) for image in build.images]
    assert {f"r-docker.pkg.dev/p/x/{name}:0123abc" for name in ("worker", "functions")} <= set(images)


def test_scripts_have_valid_syntax(steps: dict[str, Any]) -> None:
    scripts = [step for step in steps.values() if step.entrypoint]
    assert len(scripts) == 6
    for step in scripts:
        command = [step.entrypoint, "-n", "-c", substituted(step.args[-1])]
        assert subprocess.run(command, capture_output=True, timeout=10).stderr == b"", step.id


def test_pushed_digest_is_deployed(steps: dict[str, Any], tmp_path: Path) -> None:
    """The scripts run with fake programs that record their command lines."""
    if shutil.which("bash") is None:
        pytest.skip("The scripts need bash, which is not installed.")
    programs, workspace = tmp_path / "programs", tmp_path / "workspace"
    programs.mkdir()
    (workspace / "terraform").mkdir(parents=True)
    for program in ("docker", "terraform", "gcloud"):
        (programs / program).write_text(
            f'#!/bin/sh\necho "{program} $*" >>{tmp_path}/calls\n[ "$1" != inspect ] || echo "${{3%:*}}@sha256:5678"\n'
        )
        (programs / program).chmod(0o755)
    for name in ("build", "push", "plan", "deploy", "tag"):
        script = substituted(steps[name].args[-1]).replace("/workspace", str(workspace))
        subprocess.run(
            [steps[name].entrypoint, *steps[name].args[:-1], script],
            cwd=workspace,
            env={"PATH": f"{programs}:/usr/bin:/bin"},
            check=True,
            timeout=20,
        )
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[:2] for call in calls] == [
        *[["docker", "build"]] * 4,
        *[["docker", "push"], ["docker", "inspect"]] * 2,
        ["terraform", "init"],
        ["terraform", "plan"],
        ["terraform", "show"],
        ["terraform", "apply"],
        *[["gcloud", "artifacts"]] * 2,
    ]
    for name, builds in (("worker", calls[:2]), ("functions", calls[2:4])):
        image = f"r-docker.pkg.dev/p/x/{name}"
        assert all(f"--cache-from={image}-build:latest" in call for call in builds)
        assert f"--target=build --tag={image}-build:latest" in builds[0]
        assert f"--tag={image}:0123abc" in builds[1]
    assert calls[8].endswith("-reconfigure -backend-config=bucket=state -backend-config=prefix=p/r/x")
    assert calls[9].endswith(
        "-var=worker_image=r-docker.pkg.dev/p/x/worker@sha256:5678"
        " -var=functions_image=r-docker.pkg.dev/p/x/functions@sha256:5678"
    )
    image = "r-docker.pkg.dev/p/x/functions"
    assert calls[13] == f"gcloud artifacts docker tags add {image}@sha256:5678 {image}:deployed --quiet"
    assert 'backend "gcs"' in (workspace / "terraform/backend_override.tf").read_text()
