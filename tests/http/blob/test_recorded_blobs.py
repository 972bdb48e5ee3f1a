"""The recorded hashes, media types, and headers of the blob API, over HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from http_server import Server

DATA = Path(__file__).parents[2] / "data"

Case = Mapping[str, Any]


def recorded(file: str) -> list[Case]:
    found: list[Case] = json.loads((DATA / file).read_text(encoding="ascii"))["cases"]
    return found


@pytest.mark.parametrize("case", recorded("metadata_hashes_public.json"), ids=lambda case: case["id"])
def test_a_blob_has_the_recorded_hash_and_metadata(server: Server, case: Case) -> None:
    expected = case["expect"]
    if case["request"] == "createFile":
        if "content_base64" in case:
            content = base64.b64decode(case["content_base64"])
        else:
            piece, times = case["content_repeat"]
            content = piece.encode() * times
        response = server.send("POST", f"/rest/blob/createFile/{quote(case['name'], safe='')}", content)
    else:
        body = base64.b64decode(case["body_base64"]) if "body_base64" in case else case["body"].encode()
        response = server.send("POST", "/rest/blob/createMetadata", body)
    if expected.get("or") == "4xx" and 400 <= response.status < 500:
        assert response.text.endswith(".")
        return
    assert response.blob_hash == expected["hash"]
    document = response.json[expected["hash"]]
    assert server.get(f"/rest/blob/metadata/{expected['hash']}").json.keys() == document.keys()
    assert isinstance(document.pop("lastModified"), str)
    assert document == json.loads(expected["stored"])


@pytest.mark.parametrize("case", recorded("mime_types_public.json"), ids=lambda case: case["id"])
def test_a_file_has_the_recorded_headers(server: Server, case: Case) -> None:
    name = quote(case["name"], safe="")
    response = server.send("POST", f"/rest/blob/createFile/{name}", b"content")
    assert response.status == case["status"]
    assert response.blob_hash == case["hash"]
    assert response.json[case["hash"]]["mime"] == case["mime"]
    for verb in ("view", "download"):
        found = server.get(f"/rest/blob/{verb}/{case['hash']}")
        assert found.status == case[verb]["status"]
        assert found["content-type"] == case[verb]["content-type"]
        assert found["content-disposition"] == case[verb].get("content-disposition")
