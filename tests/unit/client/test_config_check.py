"""The client and the worker agree on the basics of executor_config.json."""

from __future__ import annotations

import codecs
import json
import zipfile
from pathlib import Path

import pytest

from cloud_executor.client.errors import InvalidSource
from cloud_executor.client.source.job_source import Source, open_source
from cloud_executor.errors import Invalid
from cloud_executor.model.documents.config_document import similar_file
from cloud_executor.model.documents.executor_config import ExecutorConfig

GOOD = {"cmd": "true", "resultArtifacts": []}
UTF8_MARK = "begins with a byte order mark (BOM), which JSON does not allow; save it as UTF-8 without a BOM."
UTF16_MARK = "begins with the byte order mark of UTF-16; save it as UTF-8."

WRONG = [
    (codecs.BOM_UTF8 + json.dumps(GOOD).encode(), f"executor_config.json {UTF8_MARK}"),
    (json.dumps(GOOD).encode("utf-16"), f"executor_config.json {UTF16_MARK}"),
    (codecs.BOM_UTF16_BE + json.dumps(GOOD).encode("utf-16-be"), f"executor_config.json {UTF16_MARK}"),
    (json.dumps(GOOD).encode("utf-16-le"), "executor_config.json: Invalid JSON: "),
    (b"{", "executor_config.json: Invalid JSON: "),
    (b'{"cmd": NaN}', "executor_config.json: Invalid JSON: "),
    (b"[]", "executor_config.json: The file must be a JSON object."),
    (b" " * 1_048_577, "executor_config.json is larger than 1048576 bytes."),
    ({"resultArtifacts": []}, "executor_config.json: cmd is missing."),
    ({"command": "x", "resultArtifacts": []}, "executor_config.json: cmd is missing; rename command to cmd."),
    ({"Cmd": "x", "resultArtifacts": []}, "executor_config.json: cmd is missing; rename Cmd to cmd."),
    ({"cmd": None, "resultArtifacts": []}, "executor_config.json: cmd must not be null."),
    ({"cmd": 5, "resultArtifacts": []}, "executor_config.json: cmd must be a nonempty string."),
    (
        {"cmd": ["python3", "a.py"], "resultArtifacts": []},
        "executor_config.json: cmd must be a string, the program alone; put its arguments into args.",
    ),
    ({"cmd": "x"}, "executor_config.json: resultArtifacts is missing."),
    (
        {"cmd": "x", "result_artifacts": []},
        "executor_config.json: resultArtifacts is missing; rename result_artifacts to resultArtifacts.",
    ),
    ({"cmd": "x", "artifacts": []}, "resultArtifacts is missing; rename artifacts to resultArtifacts."),
]


@pytest.mark.parametrize(("content", "sentence"), WRONG)
def test_the_client_and_the_worker_reject_the_same_files_with_the_same_sentence(
    tmp_path: Path, content: bytes | dict[str, object], sentence: str
) -> None:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    with pytest.raises(Invalid) as by_worker:
        ExecutorConfig.parse(raw)
    (tmp_path / "executor_config.json").write_bytes(raw)
    with zipfile.ZipFile(tmp_path / "job.zip", "w") as archive:
        archive.writestr("executor_config.json", raw)
    for source in (tmp_path, tmp_path / "job.zip"):
        with pytest.raises(InvalidSource) as by_client, open_source(Source(source)):
            pass
        assert str(by_client.value) == str(by_worker.value)
    assert sentence in str(by_worker.value)


def test_a_null_result_list_is_left_to_the_worker(tmp_path: Path) -> None:
    (tmp_path / "executor_config.json").write_text('{"cmd": "x", "resultArtifacts": null}')
    with open_source(Source(tmp_path)) as source:
        assert source.size > 0


@pytest.mark.parametrize(
    ("name", "similar"),
    [
        ("Executor_Config.json", True),
        ("executor-config.json", True),
        ("executorconfig.json", True),
        ("executor_config.json.txt", True),
        ("EXECUTOR_CONFIG.JSON", True),
        ("executor_config.yaml", False),
        ("config.json", False),
    ],
)
def test_a_file_with_a_similar_name_is_named(tmp_path: Path, name: str, similar: bool) -> None:
    (tmp_path / name).write_text("{}")
    (tmp_path / "other").write_text("")
    with pytest.raises(InvalidSource) as caught, open_source(Source(tmp_path)):
        pass
    what_to_do = f"rename {name} to executor_config.json" if similar else "add one that names the command to run"
    assert str(caught.value) == f"{tmp_path} has no executor_config.json at its top level: {what_to_do}."
    assert similar_file(["other", name]) == (name if similar else None)
