"""nginx with one of the project's configurations, on a free port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from requirement import lacking
from stack_process import PROJECT, until

_CONFIGURATION = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; {user}
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    include {included};
}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def nginx(folder: Path, path: str, replacements: Mapping[str, str], port: int) -> Iterator[None]:
    """Run nginx with this configuration of the repository inside the block.

    Each replaced text must be in the configuration. `port` is one that nginx listens on.
    """
    program = shutil.which("nginx")
    if program is None:
        lacking("nginx", "The test needs nginx, which is not installed.")
    folder.mkdir()
    content = (PROJECT / path).read_text()
    for old, new in replacements.items():
        assert old in content, old
        content = content.replace(old, new)
    (folder / "included.conf").write_text(content)
    configuration = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    configuration.write_text(_CONFIGURATION.format(folder=folder, included=folder / "included.conf", user=user))
    errors = folder / "error.log"
    with subprocess.Popen([program, "-e", str(errors), "-c", str(configuration)], stdin=subprocess.DEVNULL) as process:
        try:
            until(lambda: process.poll() is not None or _accepts(port))
            assert process.poll() is None, errors.read_text()
            yield
        finally:
            process.terminate()


def accepts_at(path: Path) -> bool:
    """Whether a server accepts connections at this Unix socket."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        return True
    return False


def _accepts(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 5).close()
        return True
    return False
