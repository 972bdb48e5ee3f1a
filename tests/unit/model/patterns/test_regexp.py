import pytest
from recorded import recorded

from cloud_executor.errors import Invalid
from cloud_executor.model.patterns.regexp import RegExp, Subject
from cloud_executor.model.patterns.regexp_syntax import InvalidRegExp, is_regexp

CASES = recorded("javascript_generated.json")["regexps"]


def test_validity_is_the_same_as_in_javascript(subtests):
    for source, valid, _ in CASES:
        with subtests.test(source=source):
            assert is_regexp(source) is valid
            if not valid:
                with pytest.raises(InvalidRegExp):
                    RegExp(source)


def test_expression_matches_like_in_javascript(subtests):
    for source, texts in [(source, texts) for source, _, texts in CASES if texts]:
        with subtests.test(source=source):
            expression = RegExp(source)
            assert [[text, expression.matches(Subject(text))] for text, _ in texts] == texts


@pytest.mark.parametrize("source", ["a{2}", "a{2,}", "(?<=a)b", "(?<!a)b"])
def test_unsupported_syntax_is_rejected(source):
    assert is_regexp(source)
    with pytest.raises(Invalid):
        RegExp(source)


def test_several_expressions_match_one_subject():
    subject = Subject("ab")
    assert [RegExp(source).matches(subject) for source in ("^a", "^b", "a", "b$", "^a")] == [
        True,
        False,
        True,
        True,
        True,
    ]
