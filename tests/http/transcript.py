"""Replays recorded request scenarios against a server and compares its responses with the recorded ones.

The recording itself, tests/data/rest_transcript_public.json, explains the notation.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import uuid
import zipfile
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from http_server import Response, Server, until

RECORDING = Path(__file__).parents[1] / "data" / "rest_transcript_public.json"

_KINDS: dict[str, Any] = {
    "<time>": lambda value: isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value),
    "<number>": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "<text>": lambda value: isinstance(value, str),
    "<any>": lambda value: True,
}

Case = Mapping[str, Any]


def cases() -> list[Case]:
    found: list[Case] = json.loads(RECORDING.read_text(encoding="ascii"))["cases"]
    return found


def play(server: Server, case: Case) -> None:
    """Replay the steps of a scenario; an AssertionError names the step whose response differs."""
    names = {"run": uuid.uuid4().hex[:12]}
    waited = False
    for number, step in enumerate(case["steps"]):
        try:
            waited = waited or "wait" in step
            if waited and step["method"] == "GET":
                # The change takes effect after an unknown time, at first only in some responses; then it is permanent.
                until(partial(_agrees, server, step, names))
            _play_step(server, step, names)
        except AssertionError as error:
            error.add_note(f"step {number}: {step['method']} {step['path']}")
            raise


def _agrees(server: Server, step: Case, names: dict[str, str]) -> bool:
    try:
        _play_step(server, step, names)
    except AssertionError:
        return False
    return True


def _play_step(server: Server, step: Case, names: dict[str, str]) -> None:
    response = _send(server, step, names)
    expected = step["expect"]
    for name, field in step.get("capture", {}).items():
        if response.status == 200:
            names[name] = next(iter(response.json)) if field == "@0" else response.json[field]
        elif name in expected.get("values", {}):
            # A rejected request returns no value to capture, so later steps use the recorded value.
            names[name] = expected["values"][name]
    if step.get("free"):
        assert response.status < 500
        return
    if response.status != expected["status"] and response.status in expected.get("or", ()):
        return
    assert response.status == expected["status"], response
    for name, value in expected.get("values", {}).items():
        assert names[name] == value
    _check_headers(response, expected)
    _check_body(response, _filled(expected.get("body", {"any": True}), names))
    for field in expected.get("absent", ()):
        assert field not in response.json


def _send(server: Server, step: Case, names: Mapping[str, str]) -> Response:
    headers = dict(_filled(step.get("headers", {}), names))
    chunked = headers.pop("Transfer-Encoding", None) == "chunked"
    body: bytes | Iterable[bytes] | None = None
    if "json" in step:
        body = json.dumps(_filled(step["json"], names)).encode()
        headers["Content-Type"] = "application/json"
    elif "body" in step:
        body = _filled(step["body"], names).encode()
    elif "repeat" in step:
        piece, times = step["repeat"]
        body = piece.encode() * times
    return server.send(step["method"], _filled(step["path"], names), body, headers, chunked=chunked)


def _filled(value: Any, names: Mapping[str, str]) -> Any:
    """The value with every {{name}} in its strings and keys replaced."""
    if isinstance(value, str):
        return re.sub(r"\{\{(\w+)\}\}", lambda found: names[found[1]], value)
    if isinstance(value, dict):
        return {_filled(key, names): _filled(found, names) for key, found in value.items()}
    if isinstance(value, list):
        return [_filled(found, names) for found in value]
    return value


def _check_headers(response: Response, expected: Case) -> None:
    for name, value in expected.get("headers", {}).items():
        if name != "content-type":
            assert response[name] == value
        elif response.status < 400:
            assert (response[name] or "").partition(";")[0] == value.partition(";")[0]


def _check_body(response: Response, expected: Case) -> None:
    assert expected.keys() <= {
        *("any", "demanded", "none", "text", "length", "sha1", "zip", "json", "exact", "whole"),
        *("contains", "lacks", "keys"),
    }
    if "any" in expected or expected.get("demanded") is False:
        return
    if "none" in expected:
        assert response.body == b""
    if "text" in expected:
        assert response.text == expected["text"]
    if "length" in expected:
        assert len(response.body) == expected["length"]
    if "sha1" in expected:
        assert hashlib.sha1(response.body).hexdigest() == expected["sha1"]
    if "zip" in expected:
        _check_zip(response.body, expected["zip"])
    if "json" in expected:
        assert _matches(response.json, expected["json"], exact="exact" in expected), response
        if "whole" in expected:
            assert response.json.keys() == expected["json"].keys()
    for key, value in expected.get("contains", {}).items():
        assert _matches(response.json[key], value, exact=False), response
    for key in expected.get("lacks", ()):
        assert key not in response.json
    for key, present in expected.get("keys", {}).items():
        assert (key in response.json) == present


def _check_zip(body: bytes, expected: list[dict[str, Any]]) -> None:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        found = [
            {
                "name": entry.filename,
                "size": entry.file_size,
                "sha1": hashlib.sha1(archive.read(entry)).hexdigest(),
                "mode": f"{entry.external_attr >> 16 & 0o7777:o}",
            }
            for entry in archive.infolist()
        ]
    wanted = [{key: entry[key] for key in entry if key != "method"} for entry in expected]
    assert sorted(found, key=str) == sorted(wanted, key=str)


def _matches(value: Any, expected: Any, *, exact: bool) -> bool:
    if isinstance(expected, str) and expected in _KINDS:
        return bool(_KINDS[expected](value))
    if isinstance(expected, dict):
        return (
            isinstance(value, dict)
            and (value.keys() == expected.keys() if exact else value.keys() >= expected.keys())
            and all(_matches(value[key], found, exact=exact) for key, found in expected.items())
        )
    if isinstance(expected, list):
        return (
            isinstance(value, list)
            and len(value) == len(expected)
            and all(_matches(one, other, exact=exact) for one, other in zip(value, expected, strict=True))
        )
    return type(value) is type(expected) and bool(value == expected)
