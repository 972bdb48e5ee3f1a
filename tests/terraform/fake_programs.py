"""Runs `python -m deploy` with fakes of the programs that it calls. Each one appends its command line to a file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from terraform_program import REPOSITORY, Document

REGISTRY = "us-central1-docker.pkg.dev/my-project/cloud-executor"
DIGEST = f"{REGISTRY}/worker@sha256:{'5678' * 16}"
FUNCTIONS_DIGEST = DIGEST.replace("/worker@", "/functions@")

PROGRAM = """\
#!/bin/sh
command="${0##*/} $*"
echo "$command" >>"$CALLS"
object() { echo "$OBJECTS/${1#gs://}"; }
case "$command" in
    $FAILS) [ ! -f "$CALLS.failed" ] || exit 0; [ -z "$FAILS_ONCE" ] || : >"$CALLS.failed"; exit 1 ;;
    "terraform console"*) echo "$CONSOLE" ;;
    "terraform show"*) cat "$PLAN" ;;
    "terraform output"*) echo "curl https://api.example" ;;
    "gcloud storage ls"*) [ -f "$(object "$3")" ] || { echo "One or more URLs matched no objects." >&2; exit 1; } ;;
    "gcloud storage cat"*) cat "$(object "$3")" ;;
    "gcloud storage mv"*) cp "$(object "$3")" "$(object "$4")" && rm "$(object "$3")" ;;
    "docker inspect"*) echo '["elsewhere/worker@sha256:1234", "DIGEST", "IMAGE"]' ;;
esac
""".replace("DIGEST", DIGEST).replace("IMAGE", FUNCTIONS_DIGEST)
"""Fails if the command line matches the pattern `FAILS`; with `FAILS_ONCE`, only the first time.

`PLAN` is the file with Terraform's plan, `CONSOLE` is the output of `terraform console`, and `OBJECTS` is a folder with
the objects in Cloud Storage.
"""

TOOLS = ("cat", "cp", "rm")
"""The programs that the fakes call."""


def write_programs(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text(PROGRAM)
        (folder / name).chmod(0o755)
    for name in TOOLS:
        (folder / name).symlink_to(shutil.which(name) or name)


PLAN = {
    "resource_changes": [
        {"address": "a.a", "type": "a", "change": {"actions": actions}}
        for actions in (["create"], ["create"], ["update"], ["delete", "create"], ["no-op"])
    ],
    "planned_values": {
        "root_module": {"resources": [{"type": "google_compute_global_forwarding_rule", "values": {}}]},
        "outputs": {"registry": {"value": REGISTRY}},
    },
}


class Deployment:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "programs"
        self.programs.mkdir()
        write_programs(self.programs, "terraform", "gcloud", "docker")
        self.plan(PLAN)
        for name in ("deploy", "terraform"):
            shutil.copytree(
                REPOSITORY / name,
                folder / name,
                ignore=shutil.ignore_patterns("__pycache__", ".terraform", "*.tfstate*", "states"),
            )
        self.configuration = folder / "terraform"
        self.backend = self.configuration / "backend_override.tf"
        self.backend.unlink(missing_ok=True)
        self.states = self.configuration / "states/my-project/us-central1/cloud-executor"
        self.objects = folder / "objects"

    def plan(self, plan: Document) -> None:
        (self.folder / "plan.json").write_text(json.dumps(plan))

    def run(
        self,
        *options: str,
        answer: str = "",
        fails: str = "",
        once: bool = False,
        region: str | None = None,
        name: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deploy", "--project", "my-project", *options],
            cwd=self.folder,
            env={
                "PATH": str(self.programs),
                "CALLS": str(self.folder / "calls"),
                "PLAN": str(self.folder / "plan.json"),
                "FAILS": fails,
                "FAILS_ONCE": "yes" if once else "",
                "CONSOLE": json.dumps(json.dumps({"region": region, "name": name})),
                "OBJECTS": str(self.objects),
            },
            input=answer,
            capture_output=True,
            text=True,
            timeout=60,
        )

    @property
    def calls(self) -> list[str]:
        """The calls of programs, except those that check the requirements."""
        found = (self.folder / "calls").read_text().splitlines()
        ignored = ("docker info", "gcloud auth print", "gcloud auth application-default", "terraform console")
        return [call for call in found if not call.startswith(ignored)]
