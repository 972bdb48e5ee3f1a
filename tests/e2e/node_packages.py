"""The npm packages of tests/e2e/node, installed once per machine, outside the project."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from requirement import lacking

NODE = Path(__file__).parent / "node"
_FILES = ("package.json", "package-lock.json")

INSTALL_SECONDS = 900


def installed_modules() -> Path:
    """The `node_modules` folder; the test is skipped, or fails if it is required, where it cannot be installed."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            lacking("node", f"WebGME's own clients need Node.js, but {program} is not installed.")
    version = hashlib.sha256(b"".join((NODE / name).read_bytes() for name in _FILES)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cloud-executor-tests"
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / f"node-{version}"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _install(cache / "installing", target)
    return target / "node_modules"


def _install(scratch: Path, target: Path) -> None:
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for name in _FILES:
        shutil.copy(NODE / name, scratch)
    # No scripts of the packages run, and optional dependencies are omitted.
    command = ["npm", "ci", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"]
    finished = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    if finished.returncode != 0:
        lacking("node", f"WebGME's own clients could not be installed: {finished.stderr.strip()[-500:]}")
    scratch.rename(target)
