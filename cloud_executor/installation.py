"""How this program was installed, and thus how to install its optional packages."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path


def install_command(extra: str) -> str:
    """Return the command that adds the packages of this extra to this installation: a clone, or a wheel."""
    clone = Path(__file__).parents[1]
    if (clone / "pyproject.toml").is_file():
        python, source = _shown(Path(sys.executable)), ["--editable", f"{_shown(clone)}[{extra}]"]
    else:
        python, source = sys.executable, [f"cloud-executor[{extra}]"]
    return shlex.join([python, "-m", "pip", "install", *source])


def _shown(path: Path) -> str:
    """The path, relative to the working directory if it is below."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
