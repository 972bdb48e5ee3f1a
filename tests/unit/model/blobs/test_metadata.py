import base64
import hashlib
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import recorded

from cloud_executor.errors import Invalid, NotFound
from cloud_executor.model.blobs.metadata import (
    ArtifactFile,
    BlobMetadata,
    ContentEntry,
    ContentType,
    is_hash,
    parse_hash,
    read_content_entry,
    read_name,
    response_document,
)

CASES = recorded("metadata_hashes_public.json")["cases"]
GENERATED = recorded("metadata_generated.json")["cases"]
HASH = hashlib.sha1(b"content").hexdigest()
OTHER = hashlib.sha1(b"other").hexdigest()
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)

strings = st.text(st.characters(exclude_categories=()), max_size=5)
hashes = st.text("0123456789abcdef", min_size=40, max_size=40)
entries = st.fixed_dictionaries(
    {"content": hashes, "contentType": st.sampled_from(["object", "softLink"])},
    optional={"9": st.integers(0, 9), "mode": strings},
)
documents = st.fixed_dictionaries(
    {"contentType": st.just("complex"), "content": st.dictionaries(strings, entries, max_size=5)},
    optional={
        "name": strings,
        "size": st.integers(0, 2**60) | st.floats(0, allow_infinity=False),
        "mime": strings,
        "isPublic": st.booleans(),
        "tags": st.lists(strings),
    },
)


def body_of(case) -> bytes:
    return base64.b64decode(case["body_base64"]) if "body_base64" in case else case["body"].encode()


def content_of(case) -> bytes:
    if "content_base64" in case:
        return base64.b64decode(case["content_base64"])
    text, times = case["content_repeat"]
    return (text * times).encode()


def test_file_has_recorded_hash(subtests):
    for case in [case for case in CASES if case["request"] == "createFile"]:
        with subtests.test(case["id"]):
            content = content_of(case)
            metadata = BlobMetadata.for_file(case["name"], len(content), hashlib.sha1(content).hexdigest())
            assert metadata.canonical.decode() == case["expect"]["stored"]
            assert metadata.hash == case["expect"]["hash"]


def test_sent_metadata_has_recorded_hash(subtests):
    for case in [case for case in CASES if case["request"] == "createMetadata"]:
        with subtests.test(case["id"]):
            expected = case["expect"]
            try:
                metadata = BlobMetadata.parse(body_of(case))
            except Invalid as rejected:
                assert expected.get("or") == "4xx"
                assert str(rejected).endswith(".")
            else:
                assert metadata.canonical.decode() == expected["stored"]
                assert metadata.hash == expected["hash"]


def test_generated_metadata_is_stored_like_in_webgme(subtests):
    for case in GENERATED:
        with subtests.test(body=case["body"]):
            if case.get("refused"):
                with pytest.raises(Invalid):
                    BlobMetadata.parse(case["body"].encode())
            else:
                assert BlobMetadata.parse(case["body"].encode()).canonical.decode() == case["stored"]


def test_metadata_stored_by_webgme_is_readable_or_not_found(subtests):
    for stored in [case["stored"] for case in GENERATED if "stored" in case]:
        with subtests.test(stored=stored):
            try:
                metadata = BlobMetadata.from_canonical(stored.encode())
            except NotFound:
                try:
                    assert BlobMetadata.parse(stored.encode()).content_type is None
                except Invalid as rejected:
                    assert str(rejected).endswith(".")
            else:
                assert metadata.hash == hashlib.sha1(stored.encode()).hexdigest()


@given(documents)
def test_canonical_metadata_is_parsed_to_the_same_metadata(document):
    metadata = BlobMetadata.parse(json.dumps(document).encode())
    assert BlobMetadata.parse(metadata.canonical) == metadata
    assert BlobMetadata.from_canonical(metadata.canonical) == metadata


@given(documents, st.randoms())
def test_order_of_fields_and_files_is_irrelevant(document, random):
    metadata = BlobMetadata.parse(json.dumps(document).encode())
    files = list(document["content"].items())
    random.shuffle(files)
    fields = [*(document | {"content": dict(files)}).items()]
    random.shuffle(fields)
    assert BlobMetadata.parse(json.dumps(dict(fields)).encode()) == metadata


def test_order_of_keys_in_an_entry_matters():
    body = '{"contentType":"complex","content":{"f":{%s}}}'
    keys = [f'"content":"{HASH}"', '"contentType":"object"']
    one, other = (BlobMetadata.parse((body % ",".join(order)).encode()) for order in (keys, keys[::-1]))
    assert one.hash != other.hash
    assert one.files == other.files == {"f": ContentEntry(HASH, ContentType.OBJECT)}


def test_fields_of_sent_metadata_are_parsed():
    metadata = BlobMetadata.parse(
        json.dumps(
            {"name": "x", "size": 3, "mime": "a/b", "isPublic": True, "tags": ["b", "a"], "content": HASH}
        ).encode()
    )
    assert (metadata.name, metadata.size, metadata.mime, metadata.is_public) == ("x", 3, "a/b", True)
    assert (metadata.tags, metadata.content_type, metadata.content_hash) == (("a", "b"), ContentType.OBJECT, HASH)
    assert metadata.files == {}


@given(strings)
def test_file_with_any_name_has_readable_metadata(name):
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
def test_field_of_the_wrong_type_is_rejected_by_name(field, value):
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
def test_invalid_entry_is_rejected_by_path(entry):
    body = json.dumps({"contentType": "complex", "content": {"dir/\ud800": entry}}).encode()
    with pytest.raises(Invalid, match=r'"dir/\\ud800"') as caught:
        BlobMetadata.parse(body)
    str(caught.value).encode()


def test_unknown_content_type_is_kept():
    metadata = BlobMetadata.parse(json.dumps({"content": HASH, "contentType": 'a "folder"'}).encode())
    assert metadata.content_type is None
    assert json.loads(metadata.canonical)["contentType"] == 'a "folder"'


def test_deeply_nested_extra_key_is_rejected():
    deep = "[" * 5000 + "]" * 5000
    body = f'{{"contentType":"complex","content":{{"f":{{"content":"{HASH}","contentType":"object","x":{deep}}}}}}}'
    with pytest.raises(Invalid, match="nested"):
        BlobMetadata.parse(body.encode())


def test_artifact_is_the_same_as_from_webgmes_client():
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


def test_file_named_proto_is_dropped():
    file = ArtifactFile(HASH, 3, ContentType.OBJECT)
    metadata = BlobMetadata.for_artifact("all", {"__proto__": file, "a/__proto__": file})
    assert (list(metadata.files), metadata.size) == (["a/__proto__"], 3)


def test_files_are_immutable():
    with pytest.raises(TypeError):
        BlobMetadata.for_artifact("all", {}).files["x"] = ContentEntry(HASH, ContentType.OBJECT)  # type: ignore[index] - the test is that it cannot be set


@pytest.mark.parametrize(
    "entry", [None, [HASH], {"content": HASH}, {"content": [HASH], "contentType": "object"}, {"contentType": "object"}]
)
def test_unreadable_stored_entry_does_not_hide_the_others(entry):
    good = {"content": HASH, "contentType": "object"}
    stored = json.dumps({"contentType": "complex", "content": {"good": good, "bad": entry}}).encode()
    files = BlobMetadata.from_canonical(stored).files
    assert files == {"good": ContentEntry(HASH, ContentType.OBJECT), "bad": ContentEntry("", ContentType.COMPLEX)}


def test_invalid_fields_of_stored_metadata_get_defaults():
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
def test_stored_blob_without_readable_content_is_not_found(stored):
    with pytest.raises(NotFound):
        BlobMetadata.from_canonical(stored)


def test_response_document_is_the_metadata_with_its_time():
    metadata = BlobMetadata.for_file("ü.txt", 3, HASH)
    document = json.loads(response_document(metadata.canonical, NOON))
    assert document == json.loads(metadata.canonical) | {"lastModified": "2026-01-31T12:00:00.000Z"}


@pytest.mark.parametrize(
    "text", ["", HASH[1:], HASH + "0", HASH.upper(), HASH + "\n", f"{HASH},{HASH}", "../" + HASH[3:]]
)
def test_other_strings_than_hashes_are_not_found(text):
    assert not is_hash(text)
    with pytest.raises(NotFound):
        parse_hash(text)


def test_hash_is_returned_unchanged():
    assert parse_hash(HASH) == HASH
    assert not is_hash(None)


@pytest.mark.parametrize("content_type", ["object", "softLink"])
def test_content_entry_is_read_from_the_end_of_a_document(content_type):
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
def test_content_entry_of_other_documents_requires_parsing(stored):
    assert read_content_entry(stored) is None


@given(documents)
def test_name_is_read_from_the_beginning_of_a_document(document):
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
def test_name_of_other_documents_requires_parsing(stored):
    assert read_name(stored) is None
