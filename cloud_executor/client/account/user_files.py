"""The user's own files: profiles in the config folder, and the secrets that cancel jobs in the state folder."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path

import platformdirs

APPLICATION = "cloud-executor"

SECRET_DAYS = 90.0
"""Time, in days, for which the secret of a job is kept."""


def config_file() -> Path:
    """The file with the user's profiles."""
    return Path(platformdirs.user_config_dir(APPLICATION)) / "config.json"


def secrets_folder() -> Path:
    """The folder with the secrets that cancel the user's jobs, one file for each job."""
    return Path(platformdirs.user_state_dir(APPLICATION)) / "secrets"


def read_private(path: Path) -> bytes | None:
    """The file's content; None if the file does not exist."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def write_private(path: Path, content: bytes) -> None:
    """Replace the file as a whole with one that only the user can read. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f".{os.urandom(16).hex()}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def remember_secret(url: str, job_hash: str, secret: str) -> None:
    """Keep the secret for `executor cancel`. A folder that cannot be written only means that it is not kept."""
    with suppress(OSError):
        write_private(_secret_file(url, job_hash), json.dumps({"job": job_hash, "secret": secret}).encode())
        _forget_old_secrets()


def known_secret(url: str, job_hash: str) -> str | None:
    """The secret of a job that this user created on this machine."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = read_private(_secret_file(url, job_hash))
        return None if content is None else str(json.loads(content)["secret"])
    return None


def _secret_file(url: str, job_hash: str) -> Path:
    server = f"{url.rstrip('/')}\n".encode("utf-8", "surrogatepass")
    return secrets_folder() / hashlib.sha256(server + job_hash.encode("utf-8", "surrogatepass")).hexdigest()


def _forget_old_secrets() -> None:
    """Once a day, delete the files that are too old."""
    marker = secrets_folder() / ".cleaned"
    now = time.time()
    if marker.exists() and now - marker.stat().st_mtime < 86400:
        return
    marker.touch()
    with os.scandir(secrets_folder()) as found:
        for entry in found:
            if now - entry.stat().st_mtime > SECRET_DAYS * 86400:
                Path(entry.path).unlink(missing_ok=True)
