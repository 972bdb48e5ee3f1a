"""Explain to the job's owner why a command could not be started."""

from __future__ import annotations

import os

from cloud_executor.errors import os_reason
from worker_vm.worker.file_names import quoted_name
from worker_vm.worker.sandbox.interface import Command


def why_not_started(command: Command, error: OSError) -> str:
    name = quoted_name(command.program)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if "/" in command.program and os.path.lexists(command.folder.job / command.program):
            return f"The command {name} could not be started: its interpreter was not found."
        return f"The command {name} was not found."
    if isinstance(error, PermissionError):
        return f"The command {name} is not executable."
    return f"The command {name} could not be started: {os_reason(error)}."
