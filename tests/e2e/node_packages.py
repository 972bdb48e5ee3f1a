"""The npm packages of a folder, installed once per machine, outside the project."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from requirement import lacking

NODE = Path(__file__).parent / "node"
_FILES = ("package.json", "package-lock.json")

INSTALL_SECONDS = 900


def installed_modules(source: Path = NODE, *options: str) -> Path:
    """The `node_modules` folder for the `package.json` in `source`.

    The test is skipped, or fails if it is required, where it cannot be installed.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            lacking("node", f"The test needs Node.js, but {program} is not installed.")
    version = hashlib.sha256(b"".join((source / name).read_bytes() for name in _FILES)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cloud-executor-tests"
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / f"node-{version}"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _install(source, cache / "installing", target, options)
    return target / "node_modules"


def _install(source: Path, scratch: Path, target: Path, options: Sequence[str]) -> None:
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for name in _FILES:
        shutil.copy(source / name, scratch)
    # No scripts of the packages run.
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", *options]
    finished = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    if finished.returncode != 0:
        lacking("node", f"The npm packages could not be installed: {finished.stderr.strip()[-500:]}")
    scratch.rename(target)
