"""The checker of recorded histories finds what is wrong in bad ones, and nothing in good ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from history import Create, Findings, History, Look, Read, Result, State, Upload, check

DONE = State(2, "v", "SUCCESS {'result': 'abc'}")


def good() -> History:
    return History(
        uploads=[Upload("d1", 0, 1, None), Upload("d1", 1, 2, "blob")],
        creates=[Create("blob", 2, 3, False), Create("blob", 3, 4, True)],
        # Reads that overlap the upload may see it or not.
        reads=[Read("blob", 1, 2, None), Read("blob", 1.5, 3, "d1"), Read("blob", 9, 10, "d1")],
        looks=[
            Look("blob", 1, 3, None),
            Look("blob", 2.5, 3, State(0, None, None)),
            Look("blob", 4, 5, State(1, "w", None)),
            Look("blob", 6, 8, DONE),
            Look("blob", 7, 9, State(1, "w", None)),  # overlaps the previous look
            Look("blob", 10, 11, DONE),
        ],
        results=[Result("blob", "r", "r")],
        runs={"blob": 2},
    )


def append_look(state: State | None, begin: float = 20) -> Callable[[History], None]:
    return lambda history: history.looks.append(Look("blob", begin, begin + 1, state))


def never_ends(history: History) -> None:
    history.looks = [look for look in history.looks if look.state is None or look.state.outcome is None]


def append_read(blob: str, digest: str | None, begin: float = 20) -> Callable[[History], None]:
    return lambda history: history.reads.append(Read(blob, begin, begin + 1, digest))


def set_runs(count: int) -> Callable[[History], None]:
    return lambda history: history.runs.update(blob=count)


def set_result(found: str | None) -> Callable[[History], None]:
    return lambda history: history.results.append(Result("blob", found, "r"))


BAD: list[tuple[str, Callable[[History], None], str]] = [
    ("lost", append_look(None), "was not found"),
    ("lost", never_ends, "did not end"),
    ("lost", append_look(replace(DONE, outcome="FAILED_TO_EXECUTE"), 6), "failed: FAILED_TO_EXECUTE"),
    ("lost", append_read("blob", None), "blob blob was not found"),
    ("lost", lambda history: history.reads.clear(), "was never read"),
    ("lost", set_runs(0), "never ran"),
    ("lost", set_result(None), "cannot be read"),
    ("doubled", append_look(replace(DONE, outcome="SUCCESS {'result': 'other'}")), "several outcomes"),
    ("doubled", append_look(replace(DONE, outcome=None)), "ran again after its end"),
    ("doubled", append_look(replace(DONE, attempt=1)), "earlier attempt"),
    ("doubled", append_look(State(1, "x", None), 5), "two workers in one attempt"),
    ("doubled", set_runs(3), "more often than it had attempts"),
    ("unwritten", append_read("blob", "d2"), "nobody uploaded"),
    ("unwritten", append_read("other", "d1"), "nobody uploaded"),
    ("unwritten", append_read("blob", "d1", -5), "nobody uploaded"),
    ("unwritten", lambda history: history.looks.append(Look("other", 1, 2, DONE)), "nobody created"),
    ("unwritten", append_look(State(0, None, None), -5), "before its creation"),
    ("unwritten", set_result("other"), "did not write"),
]


def test_a_good_history_has_no_findings() -> None:
    assert check(good()) == Findings()


@pytest.mark.parametrize(("kind", "spoil", "words"), BAD, ids=[words for _, _, words in BAD])
def test_each_violation_is_found(kind: str, spoil: Callable[[History], None], words: str) -> None:
    history = good()
    spoil(history)
    found: list[str] = getattr(check(history), kind)
    assert any(words in sentence for sentence in found), found
