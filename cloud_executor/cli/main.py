"""The `executor` command."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import click

from cloud_executor.cli.interrupt import Interrupted
from cloud_executor.cli.messages import say, sentence
from cloud_executor.cli.run import run as run_job
from cloud_executor.cli.slots_option import SlotRange, SlotsOption
from cloud_executor.client.client import DEFAULT_URL, Client
from cloud_executor.errors import CloudExecutorError
from cloud_executor.installation import install_command
from cloud_executor.stop_signals import reset_signals
from cloud_executor.version import VERSION

NOT_STARTED, INTERRUPTED = 2, 130
"""Exit codes for bad usage, bad input, or a server that cannot be reached, and for Ctrl-C."""

SERVER_MODULES = ("flask", "functions_framework", "gunicorn", "inflate64", "local_stack", "msgspec", "werkzeug")
"""Modules that `executor up` needs and the client does not."""


@click.group(invoke_without_command=True)
@click.version_option(VERSION, message="Cloud Executor %(version)s")
@click.pass_context
def executor(context: click.Context) -> None:
    """Run command-line jobs on this machine or on a Cloud Executor server."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(NOT_STARTED)


@executor.command()
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
    "--emulators", is_flag=True, help="Use emulators of Google Cloud's services. Stopping the stack deletes the jobs."
)
@click.option("--verbose", is_flag=True, help="Log normal events, not only warnings and errors.")
def up(host: str, port: int, data: Path, slots: SlotRange | None, emulators: bool, verbose: bool) -> int:
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
            emulators=emulators,
            verbose=verbose,
        )
    )


@executor.command("force-cancel")
@click.argument("job")
@click.option(
    "--data", metavar="FOLDER", type=click.Path(file_okay=False, path_type=Path), help="The stack's data folder."
)
def force_cancel(job: str, data: Path | None) -> int:
    """Cancel JOB without its secret, as the operator of the server.

    This works on the server's job store itself, which the same settings name as for the server.
    """
    if importlib.util.find_spec("flask") is None:
        raise click.UsageError(f"`executor force-cancel` needs the server's packages. Run: {install_command('server')}")
    from cloud_executor.composition import open_jobs
    from cloud_executor.settings import Settings

    chosen = {} if data is None else {"EXECUTOR_DATA": str(data.absolute())}
    open_jobs(Settings.from_env({**os.environ, **chosen})).clients.force_cancel(job)
    return 0


@executor.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--url",
    metavar="URL",
    envvar="EXECUTOR_URL",
    default=DEFAULT_URL,
    show_default=True,
    show_envvar=True,
    help="Address of the server.",
)
@click.option(
    "--nonce",
    metavar="SECRET",
    envvar="EXECUTOR_NONCE",
    show_envvar=True,
    help="The server's shared secret, if it has one.",
)
@click.option(
    "--google-identity",
    is_flag=True,
    envvar="EXECUTOR_GOOGLE_IDENTITY",
    show_envvar=True,
    help="Send the identity of your Google credentials, which a private Cloud Run service requires.",
)
@click.option(
    "--out",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to store the result files in.",
)
@click.option(
    "--label",
    "labels",
    metavar="LABEL",
    multiple=True,
    help="Label that the worker must have; repeat it for more labels.",
)
@click.option("--rerun", is_flag=True, help="Run the job again if the same content has already run.")
def run(
    path: Path,
    url: str,
    nonce: str | None,
    google_identity: bool,
    out: Path | None,
    labels: tuple[str, ...],
    rerun: bool,
) -> int:
    """Run the job in PATH and print its standard output.

    PATH is a folder or a zip with an executor_config.json at its top level. Ctrl-C, SIGTERM, and SIGHUP cancel a job
    that this command has created; `nohup` keeps it running when the terminal closes.

    The exit code is 0 if the job succeeded, 1 if it failed or was canceled, 2 if the job could not be submitted or
    followed to its end, 3 if it succeeded but its output or results could not be fetched or stored, and 128 plus the
    signal's number after a signal: 130 after Ctrl-C.
    """
    with Client(url, nonce, google_identity=google_identity) as client:
        return run_job(client, path, labels, out, rerun=rerun)


def main() -> None:
    """Run the command. Report errors as one sentence on standard error."""
    reset_signals()
    try:
        code = executor.main(standalone_mode=False)
    except click.ClickException as error:
        _fail(error.format_message())
    except (CloudExecutorError, OSError) as error:
        _fail(sentence(error))
    except (click.Abort, KeyboardInterrupt) as error:
        signaled = error.__cause__ if isinstance(error, click.Abort) else error
        sys.exit(signaled.exit_code if isinstance(signaled, Interrupted) else INTERRUPTED)
    else:
        sys.exit(code)


def _fail(message: str) -> None:
    say(f"Error: {message}")
    sys.exit(NOT_STARTED)


if __name__ == "__main__":
    main()
