import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_executor.errors import Invalid
from cloud_executor.model.documents.config_document import MAX_BYTES
from cloud_executor.model.documents.executor_config import ExecutorConfig

MINIMAL = {"cmd": "run", "resultArtifacts": []}


def parse(**fields: object) -> ExecutorConfig:
    return ExecutorConfig.parse(json.dumps(MINIMAL | fields).encode())


def test_all_fields_are_parsed():
    config = parse(
        cmd="./run.sh",
        args=["-x", "a b"],
        resultArtifacts=[{"name": "logs", "resultPatterns": ["*.log"]}, {"name": "all"}],
        outputInterval=500,
        outputSegmentSize=10,
        timeout=1.5,
        env={"NAME": "value", "_x1": ""},
        image="registry.example:5000/a/b:tag@sha256:0",
        resources={"cpus": 0.5, "memoryMiB": 64.0, "gpus": 1},
        retries=0,
        author="nobody",
    )
    assert (config.timeout, config.env) == (timedelta(seconds=1.5), {"NAME": "value", "_x1": ""})
    assert config.image == "registry.example:5000/a/b:tag@sha256:0"
    assert (config.cpus, config.memory_mib, config.retries) == (0.5, 64, 0)
    assert (config.cmd, config.args) == ("./run.sh", ("-x", "a b"))
    assert (config.output_interval_ms, config.output_segment_lines) == (500, 10)
    logs, everything = config.result_artifacts
    assert (logs.name, everything.name) == ("logs", "all")
    assert [logs.patterns.matches(path) for path in ("a.log", ".x")] == [True, False]
    assert [everything.patterns.matches(path) for path in ("a.log", ".x")] == [True, True]


def test_optional_fields_have_defaults():
    config = parse(timeout=None, env=None, image=None, resources=None, retries=None)
    assert config == parse() == parse(env={}, resources={"cpus": None, "memoryMiB": None})
    assert (config.timeout, config.env, config.image, config.retries) == (None, {}, None, None)
    assert (config.cpus, config.memory_mib) == (None, None)
    assert (config.args, config.result_artifacts) == ((), ())
    assert (config.output_interval_ms, config.output_segment_lines) == (None, None)


def test_arguments_become_strings_like_in_javascript():
    raw = b'{"cmd":"x","resultArtifacts":[],"args":["a",1.0,1e21,1e-7,true,null,[1,[null,"b"]],{"a":1},"\\ud800"]}'
    assert ExecutorConfig.parse(raw).args == (
        "a",
        "1",
        "1e+21",
        "1e-7",
        "true",
        "null",
        "1,,b",
        "[object Object]",
        "\ufffd",
    )


@pytest.mark.parametrize("args", [None, False, 0, ""])
def test_falsy_args_count_as_absent(args):
    assert parse(args=args).args == ()


@pytest.mark.parametrize("field", ["outputInterval", "outputSegmentSize"])
@pytest.mark.parametrize(
    ("value", "expected"), [(None, None), (0, None), (-1, None), (-0.5, None), (0.5, 1), (7.0, 7), (1e300, 2**31 - 1)]
)
def test_only_a_positive_number_turns_on_output_segments(field, value, expected):
    config = parse(**{field: value})
    assert (config.output_interval_ms if field == "outputInterval" else config.output_segment_lines) == expected


@pytest.mark.parametrize("patterns", [None, [], "*.log", {}, 5])
def test_artifact_without_a_list_of_patterns_selects_all_files(patterns):
    config = parse(resultArtifacts=[{"name": "all", "resultPatterns": patterns}])
    assert config.result_artifacts[0].patterns.matches(".folder/.hidden")


def test_last_of_two_artifacts_with_one_name_wins():
    named = [{"name": "x", "resultPatterns": [pattern]} for pattern in ("a", "b")]
    (artifact,) = parse(resultArtifacts=named).result_artifacts
    assert [artifact.patterns.matches(path) for path in ("a", "b")] == [False, True]


def test_object_instead_of_a_list_has_no_artifacts():
    assert parse(resultArtifacts={"name": "x"}).result_artifacts == ()


@pytest.mark.parametrize("raw", [b"", b"{", b"null", b"[]", b"5", b'"x"', b"\xef\xbb\xbf{}", b"\xff", b"[" * 10_000])
def test_file_that_is_not_a_json_object_is_rejected(raw):
    with pytest.raises(Invalid, match=r"executor_config\.json.*\.$"):
        ExecutorConfig.parse(raw)


def test_file_that_is_too_large_is_rejected():
    with pytest.raises(Invalid, match="larger"):
        ExecutorConfig.parse(json.dumps(MINIMAL).encode().ljust(MAX_BYTES + 1))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cmd", None),
        ("cmd", 5),
        ("cmd", ["sh"]),
        ("cmd", ""),
        ("cmd", "a\0b"),
        ("args", "text"),
        ("args", {"a": 1}),
        ("args", True),
        ("args", ["ok", "a\0b"]),
        ("resultArtifacts", None),
        ("resultArtifacts", "x"),
        ("resultArtifacts", [None]),
        ("resultArtifacts", ["x"]),
        ("resultArtifacts", [{}]),
        ("resultArtifacts", [{"name": 5}]),
        ("resultArtifacts", [{"name": "x", "resultPatterns": [None]}]),
        ("resultArtifacts", [{"name": "x", "resultPatterns": ["ok", 5]}]),
        ("resultArtifacts", [{"name": "x", "resultPatterns": ["x" * 65_537]}]),
        ("resultArtifacts", [{"name": "x", "resultPatterns": ["{1..10000000}"]}]),
        ("outputInterval", "500"),
        ("outputInterval", True),
        ("outputInterval", []),
        ("outputSegmentSize", {}),
        *(("timeout", value) for value in ("5", 0, -1, True, [])),
        *(
            ("env", value)
            for value in ([], "A=b", {"A": 5}, {"A": None}, {"A": "\0"}, {"a b": ""}, {"": ""}, {"A=": ""})
        ),
        *(("env", {name: ""}) for name in ("ORIGIN_URL", "CLOUD_EXECUTOR_ATTEMPT", "TINI_SUBREAPER", "\u00e4")),
        *(("image", value) for value in ("", 5, "a b", "-x", "x" * 513, ["x"], "a\n")),
        *(("resources", value) for value in ([], "x", 5)),
        *(("resources", {"cpus": value}) for value in ("1", 0, -1, True, [])),
        *(("resources", {"memoryMiB": value}) for value in ("1g", 0, 15, 64.5, True)),
        *(("retries", value) for value in ("1", -1, 1.5, 101, True)),
    ],
)
def test_invalid_field_is_rejected_by_name(field, value):
    with pytest.raises(Invalid, match=rf"{field}.*\.$"):
        parse(**{field: value})


@pytest.mark.parametrize("field", ["cmd", "resultArtifacts"])
def test_missing_required_field_is_rejected_by_name(field):
    document = {name: value for name, value in MINIMAL.items() if name != field}
    with pytest.raises(Invalid, match=field):
        ExecutorConfig.parse(json.dumps(document).encode())


def test_infinite_number_is_rejected_by_name():
    with pytest.raises(Invalid, match="outputInterval"):
        ExecutorConfig.parse(b'{"cmd":"x","resultArtifacts":[],"outputInterval":1e999}')


def test_total_size_of_all_patterns_is_limited():
    artifacts = [{"name": str(number), "resultPatterns": ["{1..5000}.txt"]} for number in range(10)]
    with pytest.raises(Invalid, match="too much"):
        parse(resultArtifacts=artifacts)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


FIELDS = [
    *("cmd", "args", "resultArtifacts", "outputInterval"),
    *("timeout", "env", "image", "resources", "retries"),
]


@given(st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_any_json_is_parsed_or_rejected(fields):
    raw = json.dumps({"cmd": "x", "resultArtifacts": []} | fields).encode()
    try:
        config = ExecutorConfig.parse(raw)
    except Invalid as rejected:
        assert str(rejected).endswith(".")
    else:
        for text in (config.cmd, *config.args, *config.env, *config.env.values(), config.image or ""):
            assert "\0" not in text
            text.encode()


def test_the_number_of_artifacts_is_limited() -> None:
    def config(count: int) -> bytes:
        artifacts = [{"name": f"{number}", "resultPatterns": []} for number in range(count)]
        return json.dumps({"cmd": "true", "resultArtifacts": artifacts}).encode()

    assert len(ExecutorConfig.parse(config(1000)).result_artifacts) == 1000
    with pytest.raises(Invalid, match="resultArtifacts has more than 1000 artifacts; put more files into each"):
        ExecutorConfig.parse(config(1001))
