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


def test_pattern_matches_like_minimatch(subtests):
    for case in CASES:
        with subtests.test(case["id"]):
            assert ResultPatterns([case["pattern"]]).matches(case["path"]) is case["match"]


def test_generated_pattern_matches_like_minimatch(subtests):
    for case in GENERATED:
        with subtests.test(pattern=case["pattern"]):
            patterns = ResultPatterns([case["pattern"]])
            assert [[path, patterns.matches(path)] for path, _ in case["paths"]] == case["paths"]


@pytest.mark.parametrize("path", ["a", ".hidden", ".folder/x", "a/b/c", ""])
def test_no_patterns_match_every_path(path):
    assert ResultPatterns([]).matches(path)


def test_one_matching_pattern_is_enough():
    patterns = ResultPatterns(["*.csv", "log/**", "readme.txt"])
    matched = [path for path in ("a.csv", "log/x/y", "readme.txt", "b.txt", "x/a.csv") if patterns.matches(path)]
    assert matched == ["a.csv", "log/x/y", "readme.txt"]


def test_negation_only_adds_files():
    patterns = ResultPatterns(["*.csv", "!*.csv"])
    assert patterns.matches("a.csv")
    assert patterns.matches("b.txt")


def test_comment_matches_nothing():
    assert not ResultPatterns(["# all of them"]).matches("a")


@given(st.text(st.characters(exclude_categories=(), exclude_characters="*?[]{}()!#\\+@|,/"), min_size=1))
def test_name_matches_itself_without_surrounding_white_space(name):
    patterns = ResultPatterns([name])
    trimmed = name.strip(
        " \t\n\v\f\r\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
        "\u2028\u2029\u202f\u205f\u3000\ufeff"
    )
    assert patterns.matches(trimmed)
    assert not patterns.matches(trimmed + "x")


@given(st.lists(st.text("*?[]!^-(){}|,./\\ab@+#$ 1"), max_size=3), st.text("ab.[]/(1"))
def test_any_pattern_matches_or_is_rejected(patterns, path):
    try:
        matched = ResultPatterns(patterns).matches(path)
    except Invalid as rejected:
        assert str(rejected).endswith(".")
    else:
        assert matched is any(ResultPatterns([pattern]).matches(path) for pattern in patterns) or not patterns


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
def test_hard_pattern_is_matched_in_bounded_time(pattern):
    """Backtracking would take longer than the age of the universe for most of these."""
    patterns = ResultPatterns([pattern])
    assert patterns.matches(NAME) is patterns.matches(MANY_FOLDERS) is pattern.startswith("!")


@pytest.mark.parametrize(
    "pattern",
    [
        "+(" * 8_000,
        "+(|" * 21_000,
        "[" + "+(|[" * 16_000,
        "+(!(|)" * 8_000,
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
    ids=lambda pattern: pattern[:20],
)
def test_pattern_that_expands_to_too_much_is_rejected_with_a_sentence(pattern):
    with pytest.raises(Invalid) as caught:
        ResultPatterns([pattern])
    assert str(caught.value).endswith(".")


def test_total_size_of_patterns_is_limited():
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
