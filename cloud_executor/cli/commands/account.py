"""Commands for this user: `login`, `logout`, `config`, `completion`."""

from __future__ import annotations

import json
import sys

import click

from cloud_executor.cli.output.messages import say
from cloud_executor.client.account.profiles import Profile, Profiles, choose_server
from cloud_executor.client.account.user_files import config_file
from cloud_executor.client.client import Client
from cloud_executor.errors import CloudExecutorError

profile_option = click.option(
    "--profile", "name", metavar="NAME", help="Name of the profile.  [default: the current profile]"
)


@click.command(short_help="Store a server and your credentials there.")
@click.argument("url")
@profile_option
@click.option("--token-stdin", is_flag=True, help="Read the access token from standard input.")
@click.option("--nonce-stdin", is_flag=True, help="Read the server's shared secret from standard input.")
@click.option(
    "--google-identity",
    is_flag=True,
    help="Send the identity of your Google credentials, which a private Cloud Run service requires.",
)
def login(url: str, name: str | None, token_stdin: bool, nonce_stdin: bool, google_identity: bool) -> int:
    """Store the server at URL and the user's credentials as a profile, and make it the current one.

    Commands and `Client()` use the current profile. On a terminal, the command asks for an access token, which can be
    left empty. Credentials are never arguments, because other users can see those. They are stored in the user's config
    folder so that only the user can read them.
    """
    if token_stdin and nonce_stdin:
        raise click.UsageError("--token-stdin and --nonce-stdin cannot be used together: use EXECUTOR_NONCE for one.")
    given = sys.stdin.readline().strip() or None if token_stdin or nonce_stdin else None
    token, nonce = (given, None) if token_stdin else (None, given)
    if given is None and sys.stdin.isatty():
        token = click.prompt("Access token (empty for none)", default="", show_default=False, hide_input=True) or None
        nonce = click.prompt("Nonce (empty for none)", default="", show_default=False, hide_input=True) or None
    with Client(url, nonce, token, google_identity=google_identity) as client:
        workers = client.workers()  # checks the address and the credentials
        address = client.url
    profiles = Profiles.load()
    name = name or profiles.current
    changed = profiles.with_profile(name, Profile(address, nonce, token, google_identity))
    path = Profiles(name, changed.by_name).save()
    count = f"{len(workers)} worker{'' if len(workers) == 1 else 's'}"
    say(f"The profile {name} for {address} is stored in {path}. The server has {count}.")
    return 0


@click.command(short_help="Delete stored credentials.")
@profile_option
def logout(name: str | None) -> int:
    """Delete a profile with its credentials from this machine."""
    profiles = Profiles.load()
    name = name or profiles.current
    profiles.named(name)
    profiles.with_profile(name, None).save()
    say(f"The profile {name} is deleted.")
    return 0


@click.command(short_help="Show or choose the profile.")
@click.option("--use", metavar="NAME", help="Make this profile the current one.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def config(use: str | None, as_json: bool) -> int:
    """Show the profiles without their credentials, and the server that commands use here."""
    profiles = Profiles.load()
    if use is not None:
        profiles.named(use)
        profiles = Profiles(use, profiles.by_name)
        profiles.save()
    server = choose_server()
    if as_json:
        shown = {name: {"url": found.url, "credentials": _has_credentials(found)} for name, found in _sorted(profiles)}
        document = {"file": str(config_file()), "current": profiles.current, "url": server.url, "profiles": shown}
        click.echo(json.dumps(document, indent=4))
        return 0
    for name, found in _sorted(profiles):
        mark = "*" if name == profiles.current else " "
        credentials = "" if _has_credentials(found) else "  (no credentials)"
        click.echo(f"{mark} {name}  {found.url}{credentials}")
    click.echo(f"Commands use the server at {server.url}. The profiles are in {config_file()}.")
    return 0


def _sorted(profiles: Profiles) -> list[tuple[str, Profile]]:
    return sorted(profiles.by_name.items())


def _has_credentials(profile: Profile) -> bool:
    return bool(profile.nonce or profile.token or profile.google_identity)


@click.command(short_help="Print a script for shell completion.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print a script that completes the commands and options of `executor` in SHELL.

    For bash, add this line to ~/.bashrc: eval "$(executor completion bash)"
    """
    from click.shell_completion import get_completion_class

    from cloud_executor.cli.main import executor

    found = get_completion_class(shell)
    if found is None:
        raise CloudExecutorError(f"{shell} is not supported: use bash, zsh, or fish.")
    script = found(executor, {}, "executor", "_EXECUTOR_COMPLETE")
    click.echo(script.source_template % script.source_vars())
    return 0
