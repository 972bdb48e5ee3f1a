"""Commands that need the server's packages: `up`, `force-cancel`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click

from cloud_executor.cli.commands.slots_option import SlotRange, SlotsOption
from cloud_executor.cli.local_store import local_settings
from cloud_executor.installation import install_command

SERVER_MODULES = ("flask", "functions_framework", "gunicorn", "inflate64", "local_stack", "msgspec", "werkzeug")
"""Modules that `executor up` needs and the client does not."""


@click.command()
@click.option("--host", metavar="HOST", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(0, 65535),
    default=8888,
    show_default=True,
    help="Port to listen on; 0 for any free one.",
)
@click.option(
    "--data",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    envvar="EXECUTOR_DATA",
    default="executor-data",
    show_default=True,
    show_envvar=True,
    help="Folder for blobs and jobs.",
)
@click.option(
    "--slots",
    metavar="NUMBER|MIN..MAX",
    type=SlotsOption(),
    help="Concurrent jobs in each worker pool; 0 for no worker. With a range, workers start when jobs wait and end "
    "when they are idle.  [default: the pool's slots or the CPU count]",
)
@click.option(
    "--auth",
    metavar="METHODS",
    help="How callers identify themselves: open, token, google, or several, separated by commas.  "
    "[env var: EXECUTOR_AUTH; default: open]",
)
@click.option(
    "--emulators", is_flag=True, help="Use emulators of Google Cloud's services. Stopping the stack deletes the jobs."
)
@click.option("--verbose", is_flag=True, help="Log normal events, not only warnings and errors.")
def up(
    host: str, port: int, data: Path, slots: SlotRange | None, auth: str | None, emulators: bool, verbose: bool
) -> int:
    """Start the local stack: the server and its workers.

    Ctrl-C stops it. Restart it and it resumes where it left off.
    """
    if any(importlib.util.find_spec(module) is None for module in SERVER_MODULES):
        raise click.UsageError(
            f"`executor up` needs the server, which is not installed. Run: {install_command('server')}"
        )
    from local_stack.stack import Options, run_stack

    return run_stack(
        Options(
            host=host,
            port=port,
            data=data,
            slots=None if slots is None else slots.most,
            least_slots=None if slots is None else slots.least,
            auth=auth,
            emulators=emulators,
            verbose=verbose,
        )
    )


@click.command("force-cancel", short_help="Cancel a job as the operator.")
@click.argument("job")
@click.option("--user", metavar="USER", default="guest", show_default=True, help="Owner of the job.")
@click.option(
    "--data", metavar="FOLDER", type=click.Path(file_okay=False, path_type=Path), help="The stack's data folder."
)
def force_cancel(job: str, user: str, data: Path | None) -> int:
    """Cancel JOB without its secret, as the operator of the server.

    This works on the server's job store itself, which the same settings name as for the server.
    """
    if importlib.util.find_spec("flask") is None:
        raise click.UsageError(f"`executor force-cancel` needs the server's packages. Run: {install_command('server')}")
    from cloud_executor.composition import open_jobs
    from cloud_executor.model.access.owner import key_of

    open_jobs(local_settings(data)).clients.force_cancel(key_of(user, job))
    return 0
