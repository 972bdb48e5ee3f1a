"""The `executor` command."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import click

from cloud_executor.cli.run import INTERRUPTED
from cloud_executor.cli.run import run as run_job
from cloud_executor.client.client import DEFAULT_URL, Client
from cloud_executor.errors import CloudExecutorError

REFUSED = 2
"""exit code: it could not be begun, through a fault of whoever asked or of what was asked for"""

SERVER_PACKAGES = ("functions_framework", "msgspec")
INSTALL_SERVER = "`executor up` needs the server, which is not installed: pip install 'cloud-executor[server]'"


@click.group(no_args_is_help=False)
def executor() -> None:
    """Run command-line jobs: on this machine, or on a server of yours."""


@executor.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8888, show_default=True, help="The port; 0 takes a free one."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="EXECUTOR_DATA",
    default="executor-data",
    show_default=True,
    show_envvar=True,
    help="The folder for blobs and jobs.",
)
@click.option(
    "--slots",
    type=click.IntRange(0),
    help="Jobs at once, in each worker pool; 0 starts no worker.  [default: those of the pool, or cores]",
)
@click.option(
    "--emulators", is_flag=True, help="Use Google Cloud's client libraries, on emulators; jobs are gone at the end."
)
@click.option("--verbose", is_flag=True, help="Log what happens, not only what goes wrong.")
def up(host: str, port: int, data: Path, slots: int | None, emulators: bool, verbose: bool) -> int:
    """Start the local stack: the server and a worker. Ctrl-C stops it; started again, it goes on where it was."""
    if any(importlib.util.find_spec(package) is None for package in SERVER_PACKAGES):
        raise click.UsageError(INSTALL_SERVER)
    from local_stack.stack import Options, run_stack

    return run_stack(Options(host=host, port=port, data=data, slots=slots, emulators=emulators, verbose=verbose))


@executor.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--url", envvar="EXECUTOR_URL", default=DEFAULT_URL, show_default=True, show_envvar=True, help="The server."
)
@click.option("--nonce", envvar="EXECUTOR_NONCE", show_envvar=True, help="The server's shared secret, if it has one.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="A folder to put the result files into.")
@click.option("--label", "labels", multiple=True, help="What the worker must have; give it again for more.")
def run(path: Path, url: str, nonce: str | None, out: Path | None, labels: tuple[str, ...]) -> int:
    """Run the job in PATH, a folder or a zip with an executor_config.json, and print its standard output.

    The exit code is 0 if the job succeeded, 1 if it failed or was canceled, 2 if it could not be asked for.
    """
    with Client(url, nonce) as server:
        return run_job(server, path, labels, out)


def main() -> None:
    """Run the command; what goes wrong is one sentence on standard error."""
    try:
        code = executor.main(standalone_mode=False)
    except click.ClickException as error:
        _fail(error.format_message())
    except CloudExecutorError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'A file'} cannot be used: {(error.strerror or str(error)).lower()}.")
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    else:
        sys.exit(code)


def _fail(sentence: str) -> None:
    click.echo(f"Error: {sentence}", err=True)
    sys.exit(REFUSED)


if __name__ == "__main__":
    main()
