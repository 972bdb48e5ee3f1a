"""The dashboard's libraries are exactly what their lock file says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from node_packages import INSTALL_SECONDS, installed_modules
from stack_process import PROJECT

VENDOR = PROJECT / "vendor"
STATIC = PROJECT / "functions" / "dashboard" / "static"

pytestmark = pytest.mark.timeout(INSTALL_SECONDS + 60)


def test_the_bundle_can_be_reproduced(tmp_path: Path) -> None:
    modules = installed_modules(VENDOR)
    for name in ("build.mjs", "libraries.js", "package.json"):
        shutil.copy(VENDOR / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(modules)
    (tmp_path / "built").mkdir()
    built = subprocess.run(["node", "build.mjs", "built"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert built.returncode == 0, built.stderr
    for path in sorted((tmp_path / "built").iterdir()):
        assert (path.name, path.read_bytes() == (STATIC / path.name).read_bytes()) == (path.name, True)
