"""Which server a client uses: arguments, the environment, or a profile in the user's config folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cloud_executor.client.account.user_files import config_file, read_private, write_private
from cloud_executor.client.errors import InvalidProfile

DEFAULT_URL = "http://127.0.0.1:8888"
DEFAULT_PROFILE = "default"


@dataclass(frozen=True, slots=True)
class Profile:
    """A server and the user's credentials there."""

    url: str
    nonce: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    google_identity: bool = False
    """Whether requests carry the identity of the user's Google credentials."""


@dataclass(frozen=True, slots=True)
class Profiles:
    """The user's profiles, by name."""

    current: str = DEFAULT_PROFILE
    """Profile that is used if no other is named."""
    by_name: Mapping[str, Profile] = field(default_factory=dict)

    @classmethod
    def load(cls) -> Profiles:
        """Raises InvalidProfile for a damaged file."""
        content = read_private(config_file())
        if content is None:
            return cls()
        try:
            document: Any = json.loads(content)
            found = {str(name): Profile(**fields) for name, fields in document["profiles"].items()}
            return cls(str(document["current"]), found)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InvalidProfile(f"{config_file()} is damaged: correct it, or delete it and log in again.") from None

    def save(self) -> Path:
        """Store the profiles so that only the user can read them, and return the file's path. Raises OSError."""
        profiles = {
            name: {field: value for field, value in asdict(profile).items() if value}
            for name, profile in self.by_name.items()
        }
        document = json.dumps({"current": self.current, "profiles": profiles}, indent=4) + "\n"
        write_private(config_file(), document.encode())
        return config_file()

    def with_profile(self, name: str, profile: Profile | None) -> Profiles:
        """With this profile added, replaced, or (None) removed."""
        rest = {found: value for found, value in self.by_name.items() if found != name}
        return replace(self, by_name=rest if profile is None else rest | {name: profile})

    def named(self, name: str) -> Profile:
        """Raises InvalidProfile."""
        found = self.by_name.get(name)
        if found is None:
            known = f"known profiles: {', '.join(self.by_name)}" if self.by_name else "no profile is stored"
            raise InvalidProfile(f"Profile {name!r} does not exist ({known}): create it with `executor login`.")
        return found


def choose_server(
    url: str | None = None, nonce: str | None = None, token: str | None = None, profile: str | None = None
) -> Profile:
    """Complete what the caller gives from the environment and the profile.

    A named profile comes before the environment, and the environment before the current profile. The credentials of a
    profile go only to its own server. Those of the environment go to EXECUTOR_URL or, without it, to the chosen server.
    Raises InvalidProfile.
    """
    profiles = Profiles.load()
    named = profile or os.environ.get("EXECUTOR_PROFILE") or None
    found = profiles.named(named) if named else profiles.by_name.get(profiles.current)
    own_url = os.environ.get("EXECUTOR_URL") or None
    chosen = own_url or (found.url if found is not None else DEFAULT_URL)
    if url is not None:
        chosen = url
    elif named and found is not None:
        chosen = found.url
    wants_identity = os.environ.get("EXECUTOR_GOOGLE_IDENTITY", "").lower() in ("1", "true", "yes", "on")
    environment = Profile(chosen, os.environ.get("EXECUTOR_NONCE"), os.environ.get("EXECUTOR_TOKEN"), wants_identity)
    # With EXECUTOR_URL, the other variables belong to that server, and otherwise to the one that no argument names.
    sources = [environment] if (url is None if own_url is None else _same(own_url, chosen)) else []
    if found is not None and _same(found.url, chosen):
        sources.insert(0 if named else len(sources), found)
    for source in sources:
        nonce, token = nonce or source.nonce, token or source.token
    google_identity = any(source.google_identity for source in sources)
    return Profile(chosen, nonce or None, token or None, google_identity)


def _same(url: str, other: str) -> bool:
    return url.rstrip("/") == other.rstrip("/")
