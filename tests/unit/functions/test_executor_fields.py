from __future__ import annotations

import pytest

from cloud_executor.errors import Invalid
from functions.executor.fields import labels


@pytest.mark.parametrize(("value", "expected"), [(None, ()), ([], ()), ("", ()), (0, ()), (["a", "b"], ("a", "b"))])
def test_labels_are_a_list_of_strings(value: object, expected: tuple[str, ...]) -> None:
    assert labels({"labels": value}) == expected


@pytest.mark.parametrize("value", ["a", 5, {"a": 1}, [5], [None], True])
def test_other_labels_are_rejected(value: object) -> None:
    with pytest.raises(Invalid, match=r"^labels must be a list of strings\.$"):
        labels({"labels": value})
