"""The functions as functions-framework loads them, one target a deployment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from in_process import open_client

from cloud_executor.settings import InvalidSetting

BLOB, EXECUTOR = "/rest/blob/metadata", "/rest/executor/worker"


@pytest.mark.parametrize(
    ("target", "served", "unknown"),
    [("blob", [BLOB], [EXECUTOR, "/"]), ("executor", [EXECUTOR], [BLOB, "/"]), ("api", [BLOB, EXECUTOR], ["/"])],
)
def test_a_target_serves_its_api_alone(tmp_path: Path, target: str, served: list[str], unknown: list[str]) -> None:
    with open_client(tmp_path, target) as client:
        for path in served:
            assert client.get(path).status_code == 200
        for path in unknown:
            answer = client.get(path)
            assert answer.status_code == 404
            assert answer.text.endswith(".")
        assert client.options("/anything").status_code == 204


def test_addresses_are_read_as_they_were_sent(tmp_path: Path) -> None:
    with open_client(tmp_path) as client:
        for segment, name in [("a%2Fb", "a/b"), ("a%252Fb", "a%2Fb"), ("line%0Abreak", "line\nbreak")]:
            (document,) = client.post(f"/rest/blob/createFile/{segment}", data=b"x").get_json().values()
            assert document["name"] == name


def test_a_wrong_setting_is_told_when_the_functions_load(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="EXECUTOR_LEASE must be seconds"), open_client(tmp_path, lease="soon"):
        pass


def test_nothing_of_a_loaded_function_stays(tmp_path: Path) -> None:
    before = (dict(os.environ), sys.path[:], "main" in sys.modules)
    with open_client(tmp_path, nonce="x"):
        pass
    assert (dict(os.environ), sys.path[:], "main" in sys.modules) == before
