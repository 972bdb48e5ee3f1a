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


def test_a_blob_has_the_recorded_hash_and_metadata(server: Server, subtests: pytest.Subtests) -> None:
    for case in recorded("metadata_hashes_public.json"):
        with subtests.test(case["id"]):
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
                continue
            assert response.blob_hash == expected["hash"]
            document = response.json[expected["hash"]]
            assert server.get(f"/rest/blob/metadata/{expected['hash']}").json.keys() == document.keys()
            assert isinstance(document.pop("lastModified"), str)
            assert document == json.loads(expected["stored"])


def test_a_file_has_the_recorded_headers(server: Server, subtests: pytest.Subtests) -> None:
    for case in recorded("mime_types_public.json"):
        with subtests.test(case["id"]):
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
