"""Checks of settings that depend on each other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cloud_executor.settings.errors import InvalidSetting
from cloud_executor.settings.values import GOOGLE, TOKEN

ADMIN_TOKEN = re.compile(r"cex_[0-9A-Za-z]{32,}")
"""Form of EXECUTOR_ADMIN_TOKEN. It needs no checksum, because programs copy it."""

if TYPE_CHECKING:
    from cloud_executor.settings.settings import Settings


def check_together(settings: Settings) -> None:
    """Raises InvalidSetting; its message names the variables and says what to set."""
    if settings.worker_nonce is not None and settings.worker_nonce == settings.nonce:
        raise InvalidSetting(
            "EXECUTOR_WORKER_NONCE is the same as EXECUTOR_NONCE, so every client would pass for a worker: set it to "
            "another secret."
        )
    if settings.admin_token is not None and TOKEN not in settings.auth:
        raise InvalidSetting("EXECUTOR_ADMIN_TOKEN needs the method token in EXECUTOR_AUTH.")
    if settings.admin_token is not None and not ADMIN_TOKEN.fullmatch(settings.admin_token):
        raise InvalidSetting("EXECUTOR_ADMIN_TOKEN must be cex_ and at least 32 random letters and digits.")
    if GOOGLE in settings.auth and not settings.google_audiences:
        raise InvalidSetting("EXECUTOR_AUTH names google, so EXECUTOR_GOOGLE_AUDIENCES must be set.")
    if GOOGLE in settings.auth and not settings.users | settings.admins:
        raise InvalidSetting("EXECUTOR_AUTH names google, so EXECUTOR_USERS or EXECUTOR_ADMINS must name accounts.")
    if GOOGLE not in settings.auth and (settings.users or settings.admins or settings.google_audiences):
        raise InvalidSetting(
            "EXECUTOR_USERS, EXECUTOR_ADMINS, and EXECUTOR_GOOGLE_AUDIENCES need the method google in EXECUTOR_AUTH."
        )
    if settings.objects != "files" and settings.bucket is None:
        raise InvalidSetting(
            f"EXECUTOR_OBJECTS is {settings.objects}, so EXECUTOR_BUCKET must be set to a bucket name."
        )
    if settings.objects == "files" and settings.bucket is not None:
        raise InvalidSetting(
            "EXECUTOR_BUCKET is set, but EXECUTOR_OBJECTS is files. Set EXECUTOR_OBJECTS to gcs or s3."
        )
    if settings.objects != "gcs" and settings.staging_bucket is not None:
        raise InvalidSetting(
            f"EXECUTOR_STAGING_BUCKET is set, but EXECUTOR_OBJECTS is {settings.objects}. Set EXECUTOR_OBJECTS to gcs."
        )
    if settings.objects != "s3" and settings.s3_endpoint is not None:
        raise InvalidSetting(
            f"EXECUTOR_S3_ENDPOINT is set, but EXECUTOR_OBJECTS is {settings.objects}. Set EXECUTOR_OBJECTS to s3."
        )
    if settings.s3_endpoint is not None and not settings.s3_endpoint.startswith(("http://", "https://")):
        raise InvalidSetting("EXECUTOR_S3_ENDPOINT must be a URL that starts with http:// or https://.")
    if settings.jobs == "google" and settings.project is None:
        raise InvalidSetting("EXECUTOR_JOBS is google, so EXECUTOR_PROJECT must be set to a Google Cloud project.")
    if settings.jobs != "google" and settings.worker_region is not None:
        raise InvalidSetting("EXECUTOR_WORKER_REGION is set, but EXECUTOR_JOBS is sqlite. Set EXECUTOR_JOBS to google.")
    if settings.jobs == "google" and settings.objects == "files":
        raise InvalidSetting(
            "EXECUTOR_OBJECTS must be gcs or s3, because EXECUTOR_JOBS is google: workers on other machines cannot "
            "read local files."
        )
    if settings.sandbox == "container":
        for place, pool in enumerate(settings.worker_pools):
            if pool.image is None:
                variable = f"EXECUTOR_POOLS[{place}].image or EXECUTOR_IMAGE" if settings.pools else "EXECUTOR_IMAGE"
                raise InvalidSetting(f"{variable} must be an image name, because EXECUTOR_SANDBOX is container.")


def check_reachable(settings: Settings) -> None:
    """Check the settings of a server that other machines can reach. Raises InvalidSetting if it is open."""
    if settings.is_open and not settings.allow_open:
        raise InvalidSetting(
            "Anyone who can reach this server could run commands on it: require tokens with EXECUTOR_AUTH=token or "
            "a shared secret with EXECUTOR_NONCE, listen on 127.0.0.1, or allow it with EXECUTOR_ALLOW_OPEN=yes."
        )
