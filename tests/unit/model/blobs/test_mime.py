import pytest
from recorded import recorded

from cloud_executor.model.blobs.mime import OCTET_STREAM, mime_type


def test_name_has_recorded_type(subtests):
    for case in recorded("mime_types_public.json")["cases"]:
        with subtests.test(case["id"]):
            assert mime_type(case["name"]) == case["mime"]
            assert mime_type(case["name"]) == case["download"]["content-type"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("txt", "text/plain"),
        (".txt", "text/plain"),
        ("dir/txt", OCTET_STREAM),
        ("dir\\txt", OCTET_STREAM),
        ("dir/.txt", OCTET_STREAM),
        ("dir/a.txt", "text/plain"),
        ("dir.txt/a", OCTET_STREAM),
        ("line\nbreak.TXT", "text/plain"),
        ("a/line\nbreak/.a.txt", "text/plain"),
        ("", OCTET_STREAM),
        (".", OCTET_STREAM),
        ("/", OCTET_STREAM),
        ("a.", OCTET_STREAM),
        ("a.\ud800", OCTET_STREAM),
    ],
)
def test_name_in_a_folder_needs_a_dot_after_its_first_character(name, expected):
    assert mime_type(name) == expected
