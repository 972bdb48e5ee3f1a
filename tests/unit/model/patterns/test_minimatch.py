import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import recorded

from cloud_executor.errors import Invalid
from cloud_executor.model.patterns.braces import expand_braces
from cloud_executor.model.patterns.minimatch import MAX_PATTERN, ResultPatterns

CASES = recorded("minimatch_public.json")["cases"]
GENERATED = recorded("minimatch_generated.json")["cases"]
NAME = "a" * 255
MANY_FOLDERS = "/".join(["a"] * 2000)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_pattern_takes_what_minimatch_takes(case):
    assert ResultPatterns([case["pattern"]]).matches(case["path"]) is case["match"]


@pytest.mark.parametrize("case", GENERATED, ids=lambda case: ascii(case["pattern"]))
def test_a_strange_pattern_takes_what_minimatch_takes(case):
    patterns = ResultPatterns([case["pattern"]])
    assert [[path, patterns.matches(path)] for path, _ in case["paths"]] == case["paths"]


@pytest.mark.parametrize("path", ["a", ".hidden", ".folder/x", "a/b/c", ""])
def test_no_patterns_take_all(path):
    assert ResultPatterns([]).matches(path)


def test_a_file_is_taken_if_one_pattern_takes_it():
    patterns = ResultPatterns(["*.csv", "log/**", "readme.txt"])
    taken = [path for path in ("a.csv", "log/x/y", "readme.txt", "b.txt", "x/a.csv") if patterns.matches(path)]
    assert taken == ["a.csv", "log/x/y", "readme.txt"]


def test_a_negation_only_adds_files():
    patterns = ResultPatterns(["*.csv", "!*.csv"])
    assert patterns.matches("a.csv")
    assert patterns.matches("b.txt")


def test_a_comment_is_not_the_same_as_no_pattern():
    assert not ResultPatterns(["# all of them"]).matches("a")


@given(st.text(st.characters(exclude_categories=(), exclude_characters="*?[]{}()!#\\+@|,/"), min_size=1))
def test_a_name_takes_itself_without_the_white_space_around_it(name):
    patterns = ResultPatterns([name])
    trimmed = name.strip(
        " \t\n\v\f\r\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
        "\u2028\u2029\u202f\u205f\u3000\ufeff"
    )
    assert patterns.matches(trimmed)
    assert not patterns.matches(trimmed + "x")


@given(st.lists(st.text("*?[]!^-(){}|,./\\ab@+#$ 1"), max_size=3), st.text("ab.[]/(1"))
def test_any_pattern_says_yes_or_no(patterns, path):
    try:
        taken = ResultPatterns(patterns).matches(path)
    except Invalid as refused:
        assert str(refused).endswith(".")
    else:
        assert taken is any(ResultPatterns([pattern]).matches(path) for pattern in patterns) or not patterns


@pytest.mark.parametrize(
    "pattern",
    [
        "*a" * 60 + "b",
        "+(a|aa)b",
        "*(" * 20 + "a" + ")" * 20 + "b",
        "*(*(a)b|a)" * 20 + "b",
        "+(+(+(+(a|aa)|aaa)|aaaa)|b)c",
        "@(a|b)" * 100 + "c",
        "?(a)" * 300 + "b",
        "x!(a)!(a)!(a)!(a)!(a)!(a)",
        "!!!(a)b",
        "**/" * 3000 + "b",
        "*/**/" * 1000 + "b",
        "{1..10000}.txt",
        "{1..1000}*b",
        "{" * 30_000 + "}" * 30_000,
        "a" * MAX_PATTERN,
        "[a-z]" * 10_000,
        "[" * 20,
    ],
)
def test_a_hard_pattern_is_matched_in_bounded_time(pattern):
    """Backtracking would need longer than the universe has existed for most of these."""
    patterns = ResultPatterns([pattern])
    assert patterns.matches(NAME) is patterns.matches(MANY_FOLDERS) is pattern.startswith("!")


@pytest.mark.parametrize(
    "pattern",
    [
        "{1..10000000}",
        "{1..99999999999999999999}",
        "{a,b}" * 30,
        "{a,b,c}{1..1000}" * 3,
        "{a," * 5000 + "}" * 5000,
        "{a}" + "}" * 30_000 + ",z}",
        "{" + "{1..1}" * 9000,
        "{a,b}" + "x" * 65_000 + "{1..1000}",
        "[" * 3000,
        "@(" * 200 + "a" + ")" * 200,
        "x" + "!(a)" * 40,
        "x" * (MAX_PATTERN + 1),
        "\U0001f600" * (MAX_PATTERN // 2 + 1),
        "{1..9999}*[a-z]+(x)",
    ],
)
def test_a_pattern_that_stands_for_too_much_is_refused_with_a_sentence(pattern):
    with pytest.raises(Invalid) as caught:
        ResultPatterns([pattern])
    assert str(caught.value).endswith(".")


def test_many_patterns_together_are_bounded_too():
    with pytest.raises(Invalid):
        ResultPatterns(["{1..1000}*x"] * 20)


@pytest.mark.parametrize(
    ("pattern", "expansions"),
    [
        ("a", ["a"]),
        ("{a,b{1..2}}c", ["ac", "b1c", "b2c"]),
        ("{08..10}", ["08", "09", "10"]),
        ("{x}{1..3}", ["{x}{1..3}"]),
        ("{x}{a,b}", ["{x}a", "{x}b"]),
        ("${a,b}{c,d}", ["${a,b}{c,d}"]),
        ("{${a,b}}", ["{${a,b}}"]),
        ("{,}", []),
        ("x{,}", ["x", "x"]),
    ],
)
def test_braces_expand_in_order(pattern, expansions):
    assert expand_braces(pattern) == expansions
