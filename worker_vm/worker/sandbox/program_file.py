"""What the file of a program is: a script, or a program for some machine."""

from __future__ import annotations

import os
import platform
import re
import stat
from pathlib import Path

HEAD_BYTES = 4096

_MACHINES = {
    3: ("x86", ("i386", "i686")),
    8: ("MIPS", ("mips", "mips64")),
    20: ("PowerPC", ("ppc",)),
    21: ("PowerPC 64", ("ppc64", "ppc64le")),
    22: ("S/390", ("s390", "s390x")),
    40: ("ARM", ("armv6l", "armv7l", "armv8l")),
    62: ("x86-64", ("x86_64",)),
    183: ("AArch64", ("aarch64", "arm64")),
    243: ("RISC-V", ("riscv32", "riscv64")),
}
"""Names of machines in ELF files, for users and in `platform.machine`."""

_MACH_O = tuple(bytes.fromhex(magic) for magic in ("feedface", "feedfacf", "cefaedfe", "cffaedfe", "cafebabe"))

_SHEBANG = re.compile(rb"#![ \t]*([^\s]+)[^\r\n]*")


class ProgramFile:
    """The beginning of a regular file in a job's folder, or nothing if the file cannot be read."""

    def __init__(self, folder: Path, name: str) -> None:
        # The job may have replaced the file with a link.
        path = os.path.realpath(folder / name)
        self._head = _head(path) if path.startswith(f"{os.path.realpath(folder)}{os.sep}") else b""

    @property
    def is_elf(self) -> bool:
        return self._head.startswith(b"\x7fELF")

    @property
    def interpreter(self) -> str | None:
        """Interpreter in the first line of a script."""
        found = _SHEBANG.match(self._head)
        return found[1].decode("utf-8", "replace") if found else None

    @property
    def has_windows_line_ends(self) -> bool:
        """Whether this is a text file whose first line ends with CR LF."""
        line, end, _ = self._head.partition(b"\n")
        return bool(end) and line.endswith(b"\r") and b"\0" not in self._head

    @property
    def is_binary(self) -> bool:
        """Whether no shell can read it."""
        return b"\0" in self._head.partition(b"\n")[0]

    @property
    def foreign_system(self) -> str | None:
        """System that the program is for, if that is not this one."""
        if self._head.startswith(b"MZ"):
            return "Windows"
        if self._head.startswith(_MACH_O):
            return "macOS"
        if not self.is_elf or len(self._head) < 20:
            return None
        number = int.from_bytes(self._head[18:20], "big" if self._head[5] == 2 else "little")
        name, machines = _MACHINES.get(number, (f"machine {number}", ()))
        return None if platform.machine() in machines else name


def _head(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe must not block the worker
        try:
            return os.read(descriptor, HEAD_BYTES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        return b""
