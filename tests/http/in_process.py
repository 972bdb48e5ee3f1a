"""The functions in this process, loaded the way functions-framework does it, with stores that the test chooses."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import click
import functions_framework
import pytest
from flask.testing import FlaskClient

from cloud_executor import composition
from cloud_executor.blobs.store import BlobStore
from cloud_executor.composition import Jobs

MAIN = Path(__file__).parents[2] / "functions" / "main.py"


@contextmanager
def open_client(
    data: Path,
    target: str = "api",
    *,
    blobs: BlobStore | None = None,
    jobs: Jobs | None = None,
    host: str | None = "127.0.0.1",
    **settings: str,
) -> Iterator[FlaskClient]:
    """Yield a client for a target. The framework changes environment, module path, and loggers; all are restored.

    `host` is the server's option; None stands for a server without a command of ours.
    """
    command = click.Context(click.Command("serve"))
    command.params["host"] = host
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("EXECUTOR_", "FUNCTION_"))]:
            patch.delenv(name)
        for name in ("FUNCTION_TARGET", "FUNCTION_SOURCE", "FUNCTION_SIGNATURE_TYPE"):
            patch.setenv(name, "")
            patch.delenv(name)
        patch.setenv("EXECUTOR_DATA", str(data))
        for name, value in settings.items():
            patch.setenv(f"EXECUTOR_{name.upper()}", value)
        patch.setattr(sys, "path", sys.path[:])
        patch.delitem(sys.modules, "main", raising=False)
        if blobs is not None:
            patch.setattr(composition, "open_blobs", lambda *_, **__: blobs)
        if jobs is not None:
            patch.setattr(composition, "open_jobs", lambda _: jobs)
        try:
            with (
                nullcontext() if host is None else command.scope(),
                functions_framework.create_app(target, str(MAIN)).test_client() as client,
            ):
                yield client
        finally:
            sys.modules.pop("main", None)
            root.handlers[:] = handlers
            root.setLevel(level)
