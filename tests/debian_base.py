"""A base image of this machine's own Debian, for builds where no registry of images can be reached.

It is made by debootstrap once on this machine, and kept outside of the project. Settings of the machine's that its pip
needs go with it: where packages are, and which authorities are trusted.
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

PACKAGES = ("ca-certificates", "python3", "python3-venv")
BOOTSTRAP_SECONDS = 600
IMPORT_SECONDS = 300

_DISPENSABLE = ("usr/share/doc", "usr/share/locale", "usr/share/man", "var/cache/apt", "var/lib/apt/lists")
_BUNDLE = "etc/ssl/certs/ca-certificates.crt"


class BaseMissing(Exception):
    """The text says what is missing."""


def import_debian(address: str, name: str) -> None:
    """Make it an image of the engine at this address. Raises BaseMissing."""
    client = docker.APIClient(base_url=address, timeout=IMPORT_SECONDS)
    try:
        # Without the machine's settings it is the same for ever, and read from the disk.
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
    """Build it with the network of the machine."""
    lines = client.build(network_mode="host", rm=True, forcerm=True, decode=True, **options)
    said = ""
    for line in lines:
        said += line.get("stream", "")
        assert "error" not in line, f"{said[-3000:]}{line['error']}"


def _archive() -> Path:
    """The tar of the file system."""
    if shutil.which("debootstrap") is None:
        raise BaseMissing("A base image needs the program debootstrap.")
    release = platform.freedesktop_os_release()
    if release["ID"] != "debian" or os.geteuid() != 0:
        raise BaseMissing("Only root can make a base image, on Debian.")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cloud-executor-tests"
    cache.mkdir(parents=True, exist_ok=True)
    place = cache / f"{'-'.join(['debian', release['VERSION_CODENAME'], platform.machine(), *PACKAGES])}.tar"
    with (cache / "debian-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            _bootstrap(release["VERSION_CODENAME"], place)
    return place


def _bootstrap(suite: str, place: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="debian-") as scratch:
        root = Path(scratch) / "root"
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, str(root)]
        finished = subprocess.run(command, capture_output=True, text=True, timeout=BOOTSTRAP_SECONDS)
        if finished.returncode != 0:
            raise BaseMissing(f"A base image could not be made: {finished.stdout.strip()[-500:]}")
        for folder in _DISPENSABLE:
            shutil.rmtree(root / folder, ignore_errors=True)
        unfinished = place.with_suffix(".unfinished")
        with tarfile.open(unfinished, "w") as archive:
            archive.add(root, ".")
        unfinished.rename(place)


def _pip_settings() -> str:
    """Those of this machine, without what names files of its own."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    settings = {"cert": f"/{_BUNDLE}"}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        name = key.removeprefix(":env:.").removeprefix("global.")
        words = [word for word in value.strip("'").split() if not word.startswith(("/", "file:"))]
        if words:
            settings.setdefault(name, " ".join(words))
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
