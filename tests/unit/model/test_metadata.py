import base64
import hashlib
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import recorded

from cloud_executor.errors import Invalid, NotFound
from cloud_executor.model.metadata import (
    ArtifactFile,
    BlobMetadata,
    ContentEntry,
    ContentType,
    is_hash,
    metadata_answer,
    parse_hash,
    read_content_entry,
    read_name,
)

CASES = recorded("metadata_hashes_public.json")["cases"]
GENERATED = recorded("metadata_generated.json")["cases"]
HASH = hashlib.sha1(b"content").hexdigest()
OTHER = hashlib.sha1(b"other").hexdigest()
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)

texts = st.text(st.characters(exclude_categories=()), max_size=5)
hashes = st.text("0123456789abcdef", min_size=40, max_size=40)
entries = st.fixed_dictionaries(
    {"content": hashes, "contentType": st.sampled_from(["object", "softLink"])},
    optional={"9": st.integers(0, 9), "mode": texts},
)
documents = st.fixed_dictionaries(
    {"contentType": st.just("complex"), "content": st.dictionaries(texts, entries, max_size=5)},
    optional={
        "name": texts,
        "size": st.integers(0, 2**60) | st.floats(0, allow_infinity=False),
        "mime": texts,
        "isPublic": st.booleans(),
        "tags": st.lists(texts),
    },
)


def body_of(case) -> bytes:
    return base64.b64decode(case["body_base64"]) if "body_base64" in case else case["body"].encode()


def content_of(case) -> bytes:
    if "content_base64" in case:
        return base64.b64decode(case["content_base64"])
    text, times = case["content_repeat"]
    return (text * times).encode()


@pytest.mark.parametrize(
    "case", [case for case in CASES if case["request"] == "createFile"], ids=lambda case: case["id"]
)
def test_a_file_has_the_recorded_hash(case):
    content = content_of(case)
    metadata = BlobMetadata.for_file(case["name"], len(content), hashlib.sha1(content).hexdigest())
    assert metadata.canonical.decode() == case["expect"]["stored"]
    assert metadata.hash == case["expect"]["hash"]


@pytest.mark.parametrize(
    "case", [case for case in CASES if case["request"] == "createMetadata"], ids=lambda case: case["id"]
)
def test_sent_metadata_has_the_recorded_hash(case):
    expected = case["expect"]
    try:
        metadata = BlobMetadata.parse(body_of(case))
    except Invalid as refused:
        assert expected.get("or") == "4xx"
        assert str(refused).endswith(".")
    else:
        assert metadata.canonical.decode() == expected["stored"]
        assert metadata.hash == expected["hash"]


@pytest.mark.parametrize("case", GENERATED)
def test_generated_metadata_is_what_webgme_makes_of_it(case):
    if case.get("refused"):
        with pytest.raises(Invalid):
            BlobMetadata.parse(case["body"].encode())
    else:
        assert BlobMetadata.parse(case["body"].encode()).canonical.decode() == case["stored"]


@pytest.mark.parametrize("stored", [case["stored"] for case in GENERATED if "stored" in case])
def test_whatever_webgme_has_stored_is_read_or_leads_nowhere(stored):
    try:
        metadata = BlobMetadata.from_canonical(stored.encode())
    except NotFound:
        try:
            assert BlobMetadata.parse(stored.encode()).content_type is None
        except Invalid as refused:
            assert str(refused).endswith(".")
    else:
        assert metadata.hash == hashlib.sha1(stored.encode()).hexdigest()


@given(documents)
def test_canonical_metadata_is_its_own_canonical_form(document):
    metadata = BlobMetadata.parse(json.dumps(document).encode())
    assert BlobMetadata.parse(metadata.canonical) == metadata
    assert BlobMetadata.from_canonical(metadata.canonical) == metadata


@given(documents, st.randoms())
def test_the_order_of_fields_and_files_does_not_count(document, random):
    metadata = BlobMetadata.parse(json.dumps(document).encode())
    files = list(document["content"].items())
    random.shuffle(files)
    fields = [*(document | {"content": dict(files)}).items()]
    random.shuffle(fields)
    assert BlobMetadata.parse(json.dumps(dict(fields)).encode()) == metadata


def test_the_order_of_the_keys_of_an_entry_does():
    body = '{"contentType":"complex","content":{"f":{%s}}}'
    keys = [f'"content":"{HASH}"', '"contentType":"object"']
    one, other = (BlobMetadata.parse((body % ",".join(order)).encode()) for order in (keys, keys[::-1]))
    assert one.hash != other.hash
    assert one.files == other.files == {"f": ContentEntry(HASH, ContentType.OBJECT)}


def test_the_fields_of_sent_metadata_can_be_read():
    metadata = BlobMetadata.parse(
        json.dumps(
            {"name": "x", "size": 3, "mime": "a/b", "isPublic": True, "tags": ["b", "a"], "content": HASH}
        ).encode()
    )
    assert (metadata.name, metadata.size, metadata.mime, metadata.is_public) == ("x", 3, "a/b", True)
    assert (metadata.tags, metadata.content_type, metadata.content_hash) == (("a", "b"), ContentType.OBJECT, HASH)
    assert metadata.files == {}


@given(texts)
def test_any_name_makes_metadata_that_can_be_sent_and_read(name):
    metadata = BlobMetadata.for_file(name, 3, HASH)
    assert BlobMetadata.parse(metadata.canonical).hash == metadata.hash
    assert BlobMetadata.from_canonical(metadata.canonical).canonical == metadata.canonical


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 5),
        ("size", []),
        ("size", True),
        ("size", "5"),
        ("mime", {}),
        ("isPublic", 1),
        ("tags", {}),
        ("tags", [1]),
        ("content", "../../etc/passwd"),
        ("content", HASH.upper()),
        ("content", HASH + "\n"),
        ("content", None),
        ("contentType", ["object"]),
    ],
)
def test_a_field_of_a_wrong_kind_is_refused_by_name(field, value):
    with pytest.raises(Invalid, match=field):
        BlobMetadata.parse(json.dumps({"name": "x", "content": HASH} | {field: value}).encode())


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "x",
        [],
        {},
        {"content": HASH},
        {"content": "x", "contentType": "object"},
        {"content": HASH, "contentType": []},
    ]
    + [{"content": HASH, "contentType": content_type} for content_type in ("complex", "folder", None)],
)
def test_an_entry_that_could_not_be_read_is_refused_by_path(entry):
    body = json.dumps({"contentType": "complex", "content": {"dir/\ud800": entry}}).encode()
    with pytest.raises(Invalid, match=r'"dir/\\ud800"') as caught:
        BlobMetadata.parse(body)
    str(caught.value).encode()


def test_a_type_that_nobody_can_read_is_kept_as_it_is():
    metadata = BlobMetadata.parse(json.dumps({"content": HASH, "contentType": 'a "folder"'}).encode())
    assert metadata.content_type is None
    assert json.loads(metadata.canonical)["contentType"] == 'a "folder"'


def test_extra_keys_nested_too_deeply_are_refused():
    deep = "[" * 5000 + "]" * 5000
    body = f'{{"contentType":"complex","content":{{"f":{{"content":"{HASH}","contentType":"object","x":{deep}}}}}}}'
    with pytest.raises(Invalid, match="nested"):
        BlobMetadata.parse(body.encode())


def test_an_artifact_is_what_webgmes_client_saves():
    files = {
        "b.txt": ArtifactFile(HASH, 3, ContentType.SOFT_LINK),
        "10": ArtifactFile(OTHER, 4, ContentType.OBJECT),
        "9": ArtifactFile(HASH, 5, ContentType.OBJECT),
    }
    metadata = BlobMetadata.for_artifact("all", files)
    assert metadata.canonical.decode() == (
        '{"name":"all.zip","size":12,"mime":"application/zip","isPublic":false,"tags":[],"content":{'
        f'"9":{{"content":"{HASH}","contentType":"object"}},'
        f'"10":{{"content":"{OTHER}","contentType":"object"}},'
        f'"b.txt":{{"content":"{HASH}","contentType":"softLink"}}}},"contentType":"complex"}}'
    )
    assert BlobMetadata.parse(metadata.canonical) == metadata
    assert list(metadata.files) == ["9", "10", "b.txt"]


def test_a_file_with_the_name_of_the_prototype_is_left_out():
    file = ArtifactFile(HASH, 3, ContentType.OBJECT)
    metadata = BlobMetadata.for_artifact("all", {"__proto__": file, "a/__proto__": file})
    assert (list(metadata.files), metadata.size) == (["a/__proto__"], 3)


def test_files_cannot_be_changed():
    with pytest.raises(TypeError):
        BlobMetadata.for_artifact("all", {}).files["x"] = ContentEntry(HASH, ContentType.OBJECT)  # type: ignore[index] - that it cannot be set is the point


@pytest.mark.parametrize(
    "entry", [None, [HASH], {"content": HASH}, {"content": [HASH], "contentType": "object"}, {"contentType": "object"}]
)
def test_a_stored_entry_that_cannot_be_read_does_not_hide_the_others(entry):
    good = {"content": HASH, "contentType": "object"}
    stored = json.dumps({"contentType": "complex", "content": {"good": good, "bad": entry}}).encode()
    files = BlobMetadata.from_canonical(stored).files
    assert files == {"good": ContentEntry(HASH, ContentType.OBJECT), "bad": ContentEntry("", ContentType.COMPLEX)}


def test_what_does_not_concern_the_content_of_a_stored_blob_is_read_as_its_default():
    stored = json.dumps(
        {
            "name": 5,
            "size": True,
            "mime": 7,
            "isPublic": "yes",
            "tags": ["a", 1],
            "content": HASH,
            "contentType": "object",
        }
    ).encode()
    metadata = BlobMetadata.from_canonical(stored)
    assert (metadata.name, metadata.size, metadata.mime, metadata.is_public) == (None, 0, "", True)
    assert (metadata.tags, metadata.canonical) == (("a",), stored)


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"{}",
        b'{"contentType":"object","content":"x"}',
        b'{"contentType":"complex","content":[]}',
    ]
    + [
        json.dumps({"contentType": content_type, "content": HASH}).encode()
        for content_type in ("complex", "x", None, [])
    ],
)
def test_a_stored_blob_that_leads_to_no_content_is_not_found(stored):
    with pytest.raises(NotFound):
        BlobMetadata.from_canonical(stored)


def test_an_answer_is_the_metadata_with_the_time_it_was_stored():
    metadata = BlobMetadata.for_file("ü.txt", 3, HASH)
    answer = json.loads(metadata.answer(NOON))
    assert answer == json.loads(metadata.canonical) | {"lastModified": "2026-01-31T12:00:00.000Z"}
    assert metadata_answer(metadata.canonical, NOON) == metadata.answer(NOON)


@pytest.mark.parametrize(
    "text", ["", HASH[1:], HASH + "0", HASH.upper(), HASH + "\n", f"{HASH},{HASH}", "../" + HASH[3:]]
)
def test_nothing_has_a_name_that_is_no_hash(text):
    assert not is_hash(text)
    with pytest.raises(NotFound):
        parse_hash(text)


def test_a_hash_is_taken_as_it_is():
    assert parse_hash(HASH) == HASH
    assert not is_hash(None)


@pytest.mark.parametrize("content_type", ["object", "softLink"])
def test_the_end_of_a_stored_document_says_where_it_leads(content_type):
    document = {"name": "a", "content": "1" * 40, "contentType": content_type}
    assert read_content_entry(BlobMetadata.parse(json.dumps(document).encode()).canonical) == ("1" * 40, content_type)


@pytest.mark.parametrize(
    "stored",
    [
        BlobMetadata.for_artifact("a", {"b": ("1" * 40, 1, ContentType.OBJECT)}).canonical,
        b'{"content":"%b","contentType":"object","name":"x"}' % (b"1" * 40),
        b'{"content":"%b","contentType":"object"}}' % (b"1" * 40),
        b'{"contentType":"object","content":"%b"}' % (b"1" * 40),
        b'{"name":",\\"content\\":\\"%b\\",\\"contentType\\":\\"object\\"}"}' % (b"1" * 40),
        b'{"name":"a","content":"../../etc/passwd","contentType":"object"}',
        b'{"name":"a","content":"%b","contentType":"complex"}' % (b"1" * 40),
        b"",
    ],
)
def test_a_document_that_does_not_end_so_has_to_be_read(stored):
    assert read_content_entry(stored) is None


@given(documents)
def test_the_beginning_of_a_stored_document_says_its_name(document):
    metadata = BlobMetadata.parse(json.dumps(document).encode())
    assert read_name(metadata.canonical) == metadata.name


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"{}",
        b'{"name":null,"size":1}',
        b'{"size":1,"name":"a"}',
        b'{"name":"a\\"',
        b'{"name":"a\\",',
        b' {"name":"a",',
    ],
)
def test_a_document_that_does_not_begin_with_its_name_has_to_be_read(stored):
    assert read_name(stored) is None
