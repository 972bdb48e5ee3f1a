from hypothesis import given
from hypothesis import strategies as st
from recorded import recorded

from functions.blob.content_disposition import attachment


def test_the_header_equals_the_recorded_one(subtests):
    for case in recorded("mime_types_public.json")["cases"]:
        with subtests.test(case["id"]):
            assert attachment(case["name"]) == case["download"]["content-disposition"]


def test_the_header_equals_the_output_of_the_npm_package(subtests):
    for name, expected in recorded("content_disposition_generated.json")["cases"]:
        with subtests.test(name=name):
            assert attachment(name) == expected


def test_a_lone_surrogate_is_replaced():
    assert attachment("a\ud800.zip") == "attachment; filename=\"a?.zip\"; filename*=UTF-8''a%EF%BF%BD.zip"


@given(st.text(st.characters(exclude_categories=())))
def test_the_header_for_any_name_is_one_line_of_latin_1(name):
    header = attachment(name)
    header.encode("latin-1")
    assert all(" " <= character <= "~" or character >= "\xa0" for character in header)
