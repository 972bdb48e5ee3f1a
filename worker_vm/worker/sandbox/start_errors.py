"""Explain to the job's owner why a command could not be started, and what to do."""

from __future__ import annotations

import difflib
import errno
import json
import os
import shlex
from itertools import islice
from pathlib import Path

from cloud_executor.errors import os_reason
from worker_vm.worker.file_names import quoted_name
from worker_vm.worker.sandbox.interface import Command, Ending
from worker_vm.worker.sandbox.program_file import ProgramFile

LONGEST_ARGUMENT_BYTES = 32 * os.sysconf("SC_PAGE_SIZE") - 1
"""Longest argument or environment variable that Linux accepts, in bytes."""

LONGEST_HINT = 200
"""Length of the longest example in a sentence, in characters."""

MAX_NEAR_NAMES = 1000
"""Number of files among which similar names are searched."""

_SHELL_CHARACTERS = frozenset("|&;<>()$`*?~\"'\\\n")
_SHELLS = frozenset({"sh", "bash", "dash", "ash", "ksh", "zsh", "busybox"})
_SHELL_ERRORS = (2, 126, 127)
"""Exit codes of shells, and of `env`, for a program or a script that they cannot run."""


def why_not_started(command: Command, error: OSError) -> str:
    name = quoted_name(command.program)
    path = command.folder.job / command.program
    file = ProgramFile(command.folder.job, command.program)
    if isinstance(error, FileNotFoundError | NotADirectoryError) or error.errno == errno.ENAMETOOLONG:
        if "/" in command.program and os.path.lexists(path):
            return f"The command {name} could not be started: {_missing_interpreter(file)}"
        return f"The command {name} was not found.{_hint_to_find(command)}"
    if isinstance(error, PermissionError):
        return f"The command {name} is not executable.{_hint_to_execute(command, path)}"
    if error.errno == errno.ENOEXEC:
        return f"The command {name} could not be started: {_wrong_format(file)}."
    if error.errno == errno.E2BIG:
        return f"The command {name} could not be started: {_too_long(command)}"
    return f"The command {name} could not be started: {os_reason(error)}."


def hint_after_exit(command: Command, ending: Ending) -> str:
    """A sentence that explains the exit code if the command's file is the probable reason; else an empty string."""
    if ending.exit_code not in _SHELL_ERRORS:
        return ""
    for name in _scripts(command):
        file = ProgramFile(command.folder.job, name)
        if file.has_windows_line_ends:
            return f" The file {quoted_name(name)} has Windows line endings (CR LF): convert them to LF."
        if file.foreign_system is not None:
            return f" The file {quoted_name(name)} is {_wrong_format(file)}."
    return ""


def _scripts(command: Command) -> list[str]:
    """The command's own files: the program, or the script that is the first argument of a shell."""
    if "/" in command.program:
        return [command.program]
    if command.program in _SHELLS:
        return [argument for argument in command.args[:2] if not argument.startswith("-")][:1]
    return []


def _missing_interpreter(file: ProgramFile) -> str:
    if file.has_windows_line_ends:
        return "it has Windows line endings (CR LF); convert them to LF."
    if file.interpreter is not None:
        return f"its interpreter {quoted_name(file.interpreter)} was not found."
    if file.is_elf:
        return "its loader was not found, because it is a program for another system."
    return "its interpreter was not found."


def _hint_to_find(command: Command) -> str:
    program = command.program
    if "/" not in program and os.path.isfile(command.folder.job / program):
        return f' To run the file in the job\'s folder, write "cmd": {json.dumps(f"./{program}")}.'
    if any(character.isspace() for character in program):
        return _hint_to_split(program, command.args)
    if (near := _near_name(command)) is not None:
        return f" The job's folder has {quoted_name(near)}."
    return ""


def _hint_to_split(line: str, args: tuple[str, ...]) -> str:
    """What to write instead of a whole command line."""
    words: list[str] = []
    if not _SHELL_CHARACTERS.intersection(line):
        words = [*shlex.split(line), *args]
    if words:
        example, purpose = {"cmd": words[0], "args": words[1:]}, "Its arguments belong in args"
    else:
        example, purpose = {"cmd": "sh", "args": ["-c", line, *(("sh", *args) if args else ())]}, "A shell can run it"
    shown = json.dumps(example, ensure_ascii=False)[1:-1]
    if len(shown) > LONGEST_HINT or not shown.isprintable():
        return ' "cmd" is only the program: its arguments belong in "args", or use "cmd": "sh", "args": ["-c", …].'
    return f" {purpose}: {shown}."


def _near_name(command: Command) -> str | None:
    """A file whose name is similar to the program's."""
    prefix, slash, wanted = command.program.rpartition("/")
    try:
        with os.scandir(command.folder.job / prefix) as entries:
            names = {entry.name.casefold(): entry.name for entry in islice(entries, MAX_NEAR_NAMES) if entry.is_file()}
    except (OSError, ValueError):
        return None
    near = difflib.get_close_matches(wanted.casefold(), names, 1, 0.8)
    return f"{prefix}{slash}{names[near[0]]}" if near else None


def _hint_to_execute(command: Command, path: Path) -> str:
    if not os.path.isfile(path) or os.stat(path).st_mode & 0o111:
        return ""
    shown = quoted_name(command.program)
    return f" Run chmod +x {shown} before you pack the job, or name an interpreter as cmd and the file in args."


def _wrong_format(file: ProgramFile) -> str:
    if file.foreign_system is not None:
        return f"a program for {file.foreign_system}, not for the worker's machine ({os.uname().machine})"
    return "not a program for the worker's machine"


def _too_long(command: Command) -> str:
    sizes = [(f"args[{place}]", argument) for place, argument in enumerate(command.args)]
    sizes += [(f"env.{name}", f"{name}={value}") for name, value in command.env.items()]
    for name, value in (("cmd", command.program), *sizes):
        size = len(value.encode("utf-8", "replace"))
        if size > LONGEST_ARGUMENT_BYTES:
            return (
                f"{name} has {size:,} bytes, and Linux accepts up to {LONGEST_ARGUMENT_BYTES:,} per argument or "
                "variable. Put the data into a file."
            )
    return "its arguments and environment are too large in total. Put the data into a file."
