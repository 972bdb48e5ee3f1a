from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from http_server import Server, StartServer
from transcript import Case, cases, play

SETTINGS = {
    "nonce": "nonce",
    "workerRefreshInterval": "worker_refresh_interval",
    "clearOutputTimeout": "clear_output_timeout",
    "labelJobs": "label_jobs",
}


def settings_of(needs: Mapping[str, Any], folder: Path) -> dict[str, str]:
    found = {}
    for name, value in needs.items():
        if name == "labelJobs":
            file = folder / "label_jobs.json"
            file.write_text(json.dumps(value))
            value = file
        found[SETTINGS[name]] = str(value)
    return found


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["id"])
def test_the_server_responds_as_recorded(
    case: Case, request: pytest.FixtureRequest, start_server: StartServer, tmp_path: Path
) -> None:
    server: Server
    if case.get("needs") or case.get("alone"):
        server = start_server(**settings_of(case.get("needs", {}), tmp_path))
    else:
        server = request.getfixturevalue("server")
    play(server, case)
