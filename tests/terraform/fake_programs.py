"""Fakes of the programs that a deployment calls. Each one appends its command line to a file."""

from __future__ import annotations

from pathlib import Path

REGISTRY = "us-central1-docker.pkg.dev/my-project/cloud-executor"
DIGEST = f"{REGISTRY}/worker@sha256:{'5678' * 16}"

PROGRAM = f"""\
#!/bin/sh
command="${{0##*/}} $*"
echo "$command" >>"$CALLS"
case "$command" in
    $FAILS) exit 1 ;;
    "terraform show"*) cat "$PLAN" ;;
    "terraform output"*) echo "curl https://api.example" ;;
    "docker inspect"*) echo '["elsewhere/worker@sha256:1234", "{DIGEST}"]' ;;
esac
"""
"""Fails if the command line matches the pattern `FAILS`; `PLAN` is the file with Terraform's plan."""


def write_programs(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text(PROGRAM)
        (folder / name).chmod(0o755)
