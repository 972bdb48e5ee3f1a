"""The folders of attempts, and the short paths of their temporary folders."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from worker_harness import Stack, config, until

from worker_vm.worker.work_folder import AttemptFolder, WorkFolder

LONG = "a-data-folder-with-a-long-path/" * 4
QUEUE = """
import multiprocessing, os, stat, tempfile

def work(numbers):
    numbers.put(7)

if __name__ == "__main__":
    with multiprocessing.Manager() as manager:
        numbers = manager.Queue()
        process = multiprocessing.Process(target=work, args=(numbers,))
        process.start()
        process.join()
        print(numbers.get(), oct(stat.S_IMODE(os.stat(tempfile.gettempdir()).st_mode)))
        print(os.environ["TMPDIR"])
"""


def links_into(folder: Path) -> list[Path]:
    """Links to attempts below the folder; workers of other tests have their own."""
    found = []
    for path in Path("/tmp").glob("ce-*"):
        with suppress(OSError):  # the worker of another test has removed it
            if path.readlink().is_relative_to(folder):
                found.append(path)
    return found


def test_sockets_in_the_temporary_folder_work_below_a_long_path(tmp_path: Path) -> None:
    (tmp_path / LONG).mkdir(parents=True)
    stack = Stack(tmp_path / LONG)
    files = {"executor_config.json": config("python3 program.py"), "program.py": QUEUE}
    job = stack.run(stack.add(files))
    first, second = stack.results(job)["job_stdout.txt"].decode().splitlines()
    assert (job.error, first) == (None, "7 0o700")
    assert len(second) < 40
    assert not os.path.lexists(second.rstrip("/"))


def test_programs_see_a_folder_and_not_a_link(stack: Stack) -> None:
    job = stack.run(
        stack.add_script('touch "$TMPDIR/x"; find "$TMPDIR" -type f | wc -l; find "$TMPDIR" -type l | wc -l')
    )
    assert stack.results(job)["job_stdout.txt"].split() == [b"1", b"0"]


def test_every_attempt_has_its_own(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path)
    with work.attempt() as one, work.attempt() as other:
        Path(one.short_temporary, "file").write_text("")
        assert list(one.temporary.iterdir()) and not list(other.temporary.iterdir())


def test_the_link_of_a_killed_worker_is_removed(stack: Stack, tmp_path: Path) -> None:
    stack.add_script(f"touch {tmp_path}/ready; sleep 600")
    with stack.program() as worker:
        until((tmp_path / "ready").exists)
        assert len(links_into(stack.work)) == 1
        worker.process.kill()
        worker.wait()
    assert len(links_into(stack.work)) == 1
    WorkFolder(stack.work).sweep(lambda path: None)
    assert links_into(stack.work) == []
    assert list(stack.work.iterdir()) == []


def test_the_link_of_an_attempt_whose_folder_is_gone_is_removed(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path / "work")
    with work.attempt() as kept, WorkFolder(tmp_path / "other").attempt() as folder:
        link = Path(folder.short_temporary.rstrip("/"))
        shutil.rmtree(folder.root)
        work.sweep(lambda path: None)
        assert not os.path.lexists(link)
        assert kept.short_temporary != str(kept.temporary)


def test_a_link_of_another_attempt_is_neither_used_nor_removed(tmp_path: Path) -> None:
    (tmp_path / "attempt-taken_01").mkdir()
    folder = AttemptFolder(tmp_path / "attempt-taken_01")
    link = Path("/tmp/ce-taken_01")
    link.symlink_to("/somewhere/else")
    try:
        folder.create()
        assert folder.short_temporary == str(folder.temporary)
        folder.remove()
        assert link.is_symlink() and not folder.root.exists()
    finally:
        link.unlink()


def test_without_a_place_for_links_the_path_is_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker_vm.worker.work_folder.LINKS", tmp_path / "missing")
    with WorkFolder(tmp_path).attempt() as folder:
        assert folder.short_temporary == str(folder.temporary)
