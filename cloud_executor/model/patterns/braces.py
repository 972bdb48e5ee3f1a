"""Brace expansion, `{a,b}` and `{1..3}`, as in the npm package `brace-expansion` 1.1 (MIT), which minimatch 3 uses.

The library `bracex` cannot replace this module, because it follows Bash more closely. brace-expansion expands nothing
after `${` (`${a,b}{c,d}`) and no sequence in or after a literal group (`{x{1..3}}`, `{x}{1..3}`), and it drops
backslashes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from cloud_executor.errors import Invalid

_MAX_WORK = 1_000_000
"""Limit for one pattern: the number of characters built and braces read."""
_MAX_DEPTH = 50
_MAX_DIGITS = 15

_NUMBERS = re.compile(r"(-?[0-9]+)\.\.(-?[0-9]+)(?:\.\.(-?[0-9]+))?")
_LETTERS = re.compile(r"([a-zA-Z])\.\.([a-zA-Z])(?:\.\.(-?[0-9]+))?")
_PADDED = re.compile("-?0[0-9]")
_LINE_END = re.compile("[\n\r\u2028\u2029]")
_SINGLE_COMMA = re.compile(",(?!,)")

# These characters replace escapes during the expansion; they do not occur in strings of UTF-16 code units.
_ESCAPES = {"\\\\": "\U00010000", "\\{": "\U00010001", "\\}": "\U00010002", "\\,": "\U00010003", "\\.": "\U00010004"}
_CLOSING = _ESCAPES["\\}"]
_UNESCAPED = str.maketrans({hidden: escape[1] for escape, hidden in _ESCAPES.items()})


def expand_braces(pattern: str) -> list[str]:
    """Expand a pattern of UTF-16 code units. Raises Invalid if it expands to too much.

    If the pattern has braces, backslashes before braces, commas, dots, and backslashes are dropped.
    """
    if not _contains_pair(pattern, "{", "}"):
        return [pattern]
    text = "\\{\\}" + pattern[2:] if pattern.startswith("{}") else pattern
    for escape, hidden in _ESCAPES.items():
        text = text.replace(escape, hidden)
    return [expansion.translate(_UNESCAPED) for expansion in _Expansion().expand(text, top=True)]


class _Expansion:
    """The expansion of one pattern, with a limit on the work."""

    def __init__(self) -> None:
        self._work = 0

    def expand(self, text: str, *, top: bool, depth: int = 0) -> list[str]:
        if depth > _MAX_DEPTH:
            raise Invalid("The braces of a pattern are nested too deeply.")
        expansions = [""]
        drops_empty = None
        while text:
            group = self._first_group(text)
            if group is None or text[: group[0]].endswith("$"):
                return self._combined(expansions, [text], drops_empty)
            before, body, after = text[: group[0]], text[group[0] + 1 : group[1]], text[group[1] + 1 :]
            values = self._sequence(body)
            is_sequence = values is not None
            if values is None:
                if "," not in body:
                    return self._combined(expansions, self._literal_group(before, body, after, depth), drops_empty)
                values = self._members(body, depth)
            if drops_empty is None:
                drops_empty = top and not is_sequence
            expansions = self._combined(expansions, [before + value for value in values])
            text = after
        return self._combined(expansions, [""], drops_empty)

    def _literal_group(self, before: str, body: str, after: str, depth: int) -> list[str]:
        """`{a}` is literal, but in `{a},b}` the opening brace matches the second closing brace."""
        if any(_SINGLE_COMMA.search(line, 0, line.rfind("}")) for line in _LINE_END.split(after) if "}" in line):
            return self.expand(f"{before}{{{body}{_CLOSING}{after}", top=True, depth=depth + 1)
        return [f"{before}{{{body}}}{after}"]

    def _members(self, body: str, depth: int) -> list[str]:
        members = self._split(body)
        if len(members) == 1:
            # `{{a,b}}` expands to `{a}` and `{b}`.
            members = [f"{{{inner}}}" for inner in self.expand(members[0], top=False, depth=depth + 1)]
            if len(members) == 1:
                return members
        return [value for member in members for value in self.expand(member, top=False, depth=depth + 1)]

    def _split(self, body: str) -> list[str]:
        """Split the body at the commas outside inner braces."""
        parts = [""]
        while (group := self._first_group(body)) is not None:
            first, *others = body[: group[0]].split(",")
            parts[-1] += first
            parts += others
            parts[-1] += body[group[0] : group[1] + 1]
            body = body[group[1] + 1 :]
        first, *others = body.split(",")
        parts[-1] += first
        return parts + others

    def _sequence(self, body: str) -> Iterable[str] | None:
        if numbers := _NUMBERS.fullmatch(body):
            parts = [part for part in numbers.groups() if part is not None]
            width = max(len(numbers[1]), len(numbers[2])) if any(map(_PADDED.match, parts)) else 0
            return (str(value).zfill(width) for value in self._range(*map(_number, parts)))
        if letters := _LETTERS.fullmatch(body):
            step = _number(letters[3] or "1")
            return (chr(code).replace("\\", "") for code in self._range(ord(letters[1]), ord(letters[2]), step))
        return None

    def _range(self, first: int, last: int, step: int = 1) -> range:
        step = max(abs(step), 1)
        self._spend(abs(last - first) // step + 1)
        return range(first, last + 1, step) if first <= last else range(first, last - 1, -step)

    def _combined(self, starts: Sequence[str], ends: Sequence[str], drops_empty: bool | None = False) -> list[str]:
        self._spend(len(starts) * len(ends) + len(starts) * sum(map(len, ends)) + len(ends) * sum(map(len, starts)))
        return [start + end for start in starts for end in ends if start or end or not drops_empty]

    def _first_group(self, text: str) -> tuple[int, int] | None:
        """The positions of the first balanced pair of braces; an outer pair precedes the pairs that it contains."""
        opening, closing = text.find("{"), text.find("}", text.find("{") + 1)
        if opening < 0 or closing < 0:
            return None
        opened: list[int] = []
        found: tuple[int, int] | None = None
        position = opening
        while position >= 0:
            self._spend(1)
            if position == opening:
                opened.append(position)
                opening = text.find("{", position + 1)
            elif len(opened) == 1:
                return opened[0], closing
            else:
                inner = opened.pop()
                if found is None or inner < found[0]:
                    found = inner, closing
                closing = text.find("}", position + 1)
            position = opening if 0 <= opening < closing else closing
        return found

    def _spend(self, work: int) -> None:
        self._work += work
        if self._work > _MAX_WORK:
            raise Invalid("The braces of a pattern expand to too many alternatives.")


def _number(text: str) -> int:
    digits = text.lstrip("-").lstrip("0") or "0"
    if len(digits) > _MAX_DIGITS:
        raise Invalid("A number in the braces of a pattern is too large.")
    return -int(digits) if text.startswith("-") else int(digits)


def _contains_pair(text: str, opening: str, closing: str) -> bool:
    """Whether `opening` is followed by `closing` in the same line."""
    return any(opening in line[: line.rfind(closing) + 1] for line in _LINE_END.split(text))
