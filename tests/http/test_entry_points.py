"""The functions as functions-framework loads them, one target per deployment."""

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
    [
        ("blob", [BLOB], [EXECUTOR, "/"]),
        ("executor", [EXECUTOR, "/"], [BLOB, "/dashboard"]),
        ("api", [BLOB, EXECUTOR, "/"], ["/dashboard", "/index.html"]),
    ],
)
def test_a_target_serves_only_its_own_api(tmp_path: Path, target: str, served: list[str], unknown: list[str]) -> None:
    with open_client(tmp_path, target) as client:
        for path in served:
            assert client.get(path).status_code == 200
        for path in unknown:
            response = client.get(path)
            assert response.status_code == 404
            assert response.text.endswith(".")
        assert client.options("/anything").status_code == 204


def test_paths_are_decoded_exactly_once(tmp_path: Path) -> None:
    with open_client(tmp_path) as client:
        for segment, name in [("a%2Fb", "a/b"), ("a%252Fb", "a%2Fb"), ("line%0Abreak", "line\nbreak")]:
            (document,) = client.post(f"/rest/blob/createFile/{segment}", data=b"x").get_json().values()
            assert document["name"] == name


def test_an_invalid_setting_is_reported_when_the_functions_load(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="EXECUTOR_LEASE must be"), open_client(tmp_path, lease="soon"):
        pass


def test_a_loaded_function_leaves_no_trace_in_this_process(tmp_path: Path) -> None:
    before = (dict(os.environ), sys.path[:], "main" in sys.modules)
    with open_client(tmp_path, nonce="x"):
        pass
    assert (dict(os.environ), sys.path[:], "main" in sys.modules) == before
