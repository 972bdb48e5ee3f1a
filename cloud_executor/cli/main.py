"""The `executor` command."""

from __future__ import annotations

import gc
import sys
from importlib import import_module

import click

from cloud_executor.errors import CloudExecutorError
from cloud_executor.process.stop_signals import reset_signals
from cloud_executor.version import VERSION

NOT_STARTED, INTERRUPTED = 2, 130
"""Exit codes for bad usage, bad input, or a server that cannot be reached, and for Ctrl-C."""

COMMANDS = {
    "run": "commands.run:run",
    "status": "commands.jobs:status",
    "logs": "commands.jobs:logs",
    "results": "commands.jobs:results",
    "get": "commands.jobs:get",
    "cancel": "commands.jobs:cancel",
    "rerun": "commands.jobs:rerun",
    "rm": "commands.removal:rm",
    "open": "commands.jobs:open_page",
    "list": "commands.listing:list_jobs",
    "workers": "commands.listing:workers",
    "stats": "commands.listing:stats",
    "put": "commands.blobs:put",
    "ls": "commands.blobs:ls",
    "cat": "commands.blobs:cat",
    "cp": "commands.blobs:cp",
    "login": "commands.account:login",
    "logout": "commands.account:logout",
    "config": "commands.account:config",
    "doctor": "commands.doctor:doctor",
    "completion": "commands.account:completion",
    "up": "commands.server:up",
    "demo": "demo:main",
    "token": "commands.token:token",
    "quota": "commands.quota:quota",
    "gc": "commands.gc:gc",
    "force-cancel": "commands.server:force_cancel",
}
"""Module and name of each command, in the order of the help."""


UNUSED_MODULES = ("httpx._main", "anyio", "trio")
"""Modules that httpx loads if they are installed, and works without: its own command, with rich, and asyncio support.

They would take a quarter of the time of a short command.
"""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used, so that the program starts fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"cloud_executor.cli.{module}"), name)
        gc.freeze()  # the modules stay, so the collections that follow skip them
        gc.enable()
        return command


@click.group(cls=LazyGroup, invoke_without_command=True)
@click.version_option(VERSION, message="Cloud Executor %(version)s")
@click.pass_context
def executor(context: click.Context) -> None:
    """Run command-line jobs on this machine or on a Cloud Executor server.

    Exit codes: 0 for success, 1 if a job failed or was canceled, 2 for bad input or a server that cannot be used, 3 if
    a job succeeded but its results could not be fetched, and 128 plus the signal's number after a signal: 130 after
    Ctrl-C.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(NOT_STARTED)


def main() -> None:
    """Run the command. Report errors as one sentence on standard error."""
    reset_signals()
    gc.disable()  # until the command is imported: that makes many objects, and no garbage
    for name in UNUSED_MODULES:
        sys.modules[name] = None  # type: ignore[assignment]  # Python then reports that the module is missing
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Run the command with these arguments and return its exit code."""
    try:
        return int(executor.main(arguments, prog_name="executor", standalone_mode=False) or 0)
    except click.ClickException as error:
        return _failed(error.format_message())
    except BrokenPipeError:
        from cloud_executor.cli.output.messages import discard_output

        discard_output()
        return 0
    except (CloudExecutorError, OSError) as error:
        from cloud_executor.cli.output.messages import sentence

        return _failed(sentence(error))
    except (click.Abort, KeyboardInterrupt) as error:
        signaled = error.__cause__ if isinstance(error, click.Abort) else error
        return int(getattr(signaled, "exit_code", INTERRUPTED))


def _failed(message: str) -> int:
    from cloud_executor.cli.output.messages import say

    say(f"Error: {message}")
    return NOT_STARTED


if __name__ == "__main__":
    main()
