"""A base image of this machine's own Debian release, for builds on machines that reach no image registry.

debootstrap creates it once per machine, outside the project. The image gets the settings of the machine that pip needs:
where packages come from, and which certificate authorities are trusted.
"""

from __future__ import annotations

import fcntl
import io
import os
import platform
import shutil
import ssl
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import docker

PACKAGES = ("ca-certificates", "python3", "python3-venv", "tini")
BOOTSTRAP_SECONDS = 600
IMPORT_SECONDS = 300

_UNNEEDED = ("usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache/apt", "var/lib/apt/lists")
_BUNDLE = "etc/ssl/certs/ca-certificates.crt"


class BaseMissing(Exception):
    """The base image cannot be created; the message says why."""


def import_debian(address: str, name: str) -> None:
    """Import the base image under this name into the Docker Engine at this address. Raises BaseMissing."""
    client = docker.APIClient(base_url=address, timeout=IMPORT_SECONDS)
    try:
        # The archive is cached without the machine's settings, which may change; they are added in a second layer.
        client.import_image_from_file(str(_archive()), f"{name}-plain")
        dockerfile = f"FROM {name}-plain\nCOPY . /\nENV LANG=C.UTF-8\n"
        files = {"Dockerfile": dockerfile.encode(), "etc/pip.conf": _pip_settings().encode()}
        bundle = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
        if bundle is not None:
            files[_BUNDLE] = Path(bundle).read_bytes()
        build_image(client, fileobj=_tar(files), custom_context=True, tag=name)
    finally:
        client.close()


def build_image(client: docker.APIClient, **options: object) -> None:
    """Build an image with the machine's network."""
    lines = client.build(network_mode="host", rm=True, forcerm=True, decode=True, **options)
    output = ""
    for line in lines:
        output += line.get("stream", "")
        assert "error" not in line, f"{output[-3000:]}{line['error']}"


def _archive() -> Path:
    """Path of the cached tar archive of the root file system; created on the first call."""
    if shutil.which("debootstrap") is None:
        raise BaseMissing("debootstrap, which creates the base image, is not installed.")
    release = platform.freedesktop_os_release()
    if release["ID"] != "debian" or os.geteuid() != 0:
        raise BaseMissing("Only root on Debian can create a base image.")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cloud-executor-tests"
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"{'-'.join(['debian', release['VERSION_CODENAME'], platform.machine(), *PACKAGES])}.tar"
    with (cache / "debian-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _bootstrap(release["VERSION_CODENAME"], path)
    return path


def _bootstrap(suite: str, path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="debian-") as scratch:
        root = Path(scratch) / "root"
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, str(root)]
        finished = subprocess.run(command, capture_output=True, text=True, timeout=BOOTSTRAP_SECONDS)
        if finished.returncode != 0:
            raise BaseMissing(f"debootstrap failed: {finished.stdout.strip()[-500:]}")
        for folder in _UNNEEDED:
            shutil.rmtree(root / folder, ignore_errors=True)
        unfinished = path.with_suffix(".unfinished")
        with tarfile.open(unfinished, "w") as archive:
            archive.add(root, ".")
        unfinished.rename(path)


def _pip_settings() -> str:
    """The machine's pip settings, without values that are local paths."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    settings = {"cert": f"/{_BUNDLE}"}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        name = key.removeprefix(":env:.").removeprefix("global.")
        values = [word for word in value.strip("'").split() if not word.startswith(("/", "file:"))]
        if values:
            settings.setdefault(name, " ".join(values))
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())


def _tar(files: dict[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    buffer.seek(0)
    return buffer
