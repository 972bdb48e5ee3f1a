"""A static-file server as the limit for downloads: nginx, or a small server in this file without it."""

from __future__ import annotations

import os
import socket
import socketserver
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.processes import running
from bench.workspace import PROJECT, BenchmarkError, Workspace, program

NAME = "nginx" if program("nginx") else "Python sendfile server"

_START_SECONDS = 10.0
_NGINX_MISSING = (
    "nginx is not installed, so a small Python server sets the limit; it is slower for small files."
    " Install nginx: sudo apt-get install --no-install-recommends nginx-light"
)
_CONFIGURATION = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes auto; {user}
events {{ }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; root "{files}"; }}
}}
"""


@contextmanager
def static_server(workspace: Workspace, files: Path) -> Iterator[str]:
    """Serve a folder inside the block; yield the server's URL."""
    folder = workspace.new_folder("static")
    port = _free_port()
    nginx = program("nginx")
    if nginx:
        user = "user root;" if os.geteuid() == 0 else ""
        configuration = folder / "nginx.conf"
        configuration.write_text(_CONFIGURATION.format(folder=folder, files=files, port=port, user=user))
        command = [nginx, "-e", str(folder / "error.log"), "-c", str(configuration)]
    else:
        workspace.note(_NGINX_MISSING)
        command = [sys.executable, "-m", "bench.servers.static_server", str(port), str(files)]
    log = folder / "log"
    with running(command, log, PROJECT):
        deadline = time.monotonic() + _START_SECONDS
        while not _accepts(port):
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{NAME} did not start: {log.read_text()[-300:]}")
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class _Handler(socketserver.StreamRequestHandler):
    """Serves files with sendfile over kept-alive connections."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        with suppress(ConnectionError):
            while line := self.rfile.readline():
                while self.rfile.readline().strip():
                    pass  # skip the headers
                name = line.split()[1].decode().lstrip("/")
                with open(name, "rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    self.connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
                    self.connection.sendfile(file)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    allow_reuse_port = True
    request_queue_size = 128


def serve(port: int, files: Path) -> None:
    """Serve a folder with one process per core; all accept on the same port."""
    os.chdir(files)
    for _ in range((os.cpu_count() or 1) - 1):
        if os.fork() == 0:
            break
    with _Server(("127.0.0.1", port), _Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
