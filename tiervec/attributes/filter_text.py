r"""Filters as text: ``year >= 2020 and lang in ["en", "de"] and not exists(draft)``.

    filter      or-joined: part ("or" part)*          part: factor ("and" factor)*          factor: "not" factor | item
    item        "(" filter ")" | "exists" "(" name ")" | name "is" ["not"] "null" | name comparison value
                | name ["not"] "in" "[" value, ... "]" | name "contains" text
    name        letters, digits, _ . - after a first letter or _; any other between back quotes
    value       a number, true, false, or a text in double or single quotes with \" \' \\ \n \t

The words of the language may be written in capitals, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, NoReturn

from tiervec.attributes.filter_tree import COMPARISONS, MOST_VALUES
from tiervec.errors import InvalidArgumentError

__all__ = ["parse_filter"]

_LONGEST: Final = 4 << 20  # characters
_DEEPEST: Final = 60
_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<quoted>`[^`]*`)
    | (?P<word>[^\W\d][\w.-]*)
    | (?P<sign>==|!=|<=|>=|[<>()\[\],])
    )""",
    re.VERBOSE | re.DOTALL,
)
_WORDS: Final = frozenset(("and", "or", "not", "in", "is", "null", "exists", "contains", "true", "false"))
_ESCAPES: Final = {"n": "\n", "t": "\t"}


class _Token(NamedTuple):
    kind: str  # number, text, name, word, sign or end
    text: str
    at: int


def parse_filter(text: str) -> dict[str, Any]:
    """The tree of dicts that a text stands for; `checked_tree` looks whether it fits an index.

    Raises:
        InvalidArgumentError: It does not parse; the sentence shows the place.

    Example:
        >>> parse_filter('year >= 2020 and not exists(draft)')
        {'and': [{'>=': ['year', 2020]}, {'not': {'exists': 'draft'}}]}
    """
    if len(text) > _LONGEST:
        raise InvalidArgumentError(f"the filter has {len(text):,} characters; it may have {_LONGEST:,}")
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._next = next(self._tokens)

    def parse(self) -> dict[str, Any]:
        tree = self._joined("or", 0)
        if self._next.kind != "end":
            self._refuse("and, or, or the end of the filter must follow")
        return tree

    def _joined(self, word: str, depth: int) -> dict[str, Any]:
        if depth > _DEEPEST:
            self._refuse(f"a filter may be nested {_DEEPEST} levels deep")
        parts = [self._joined("and", depth) if word == "or" else self._factor(depth)]
        while self._take("word", word):
            parts.append(self._joined("and", depth) if word == "or" else self._factor(depth))
        return parts[0] if len(parts) == 1 else {word: parts}

    def _factor(self, depth: int) -> dict[str, Any]:
        negations = 0
        while self._take("word", "not"):
            negations += 1
        tree = self._item(depth)
        return {"not": tree} if negations % 2 else tree

    def _item(self, depth: int) -> dict[str, Any]:
        if self._take("sign", "("):
            tree = self._joined("or", depth + 1)
            self._want("sign", ")")
            return tree
        if self._take("word", "exists"):
            self._want("sign", "(")
            name = self._name()
            self._want("sign", ")")
            return {"exists": name}
        name = self._name()
        if self._take("word", "is"):
            operator = "is not null" if self._take("word", "not") else "is null"
            self._want("word", "null")
            return {operator: name}
        if self._take("word", "contains"):
            return {"contains": [name, self._value()]}
        if self._take("word", "not"):
            self._want("word", "in")
            return {"not in": [name, self._list()]}
        if self._take("word", "in"):
            return {"in": [name, self._list()]}
        operator = self._next.text
        if self._next.kind != "sign" or operator not in COMPARISONS:
            self._refuse(f"one of {' '.join(COMPARISONS)} in, not in, contains, is null must follow {name}")
        self._advance()
        return {operator: [name, self._value()]}

    def _list(self) -> list[Any]:
        self._want("sign", "[")
        values: list[Any] = []
        while not self._take("sign", "]"):
            if values:
                self._want("sign", ",")
            if len(values) == MOST_VALUES:
                self._refuse(f"a list may have {MOST_VALUES:,} values")
            values.append(self._value())
        return values

    def _value(self) -> Any:
        kind, text, _ = self._next
        if kind == "number":
            self._advance()
            return float(text) if set(text) & set(".eE") else _integer(text)
        if kind == "text":
            self._advance()
            return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), text[1:-1], flags=re.DOTALL)
        if kind != "word" or text not in ("true", "false"):
            self._refuse("a number, a text in quotes, true or false must stand here")
        self._advance()
        return text == "true"

    def _name(self) -> str:
        if self._next.kind != "name":
            self._refuse("the name of an attribute, not, exists or ( must stand here")
        return self._advance().text

    def _take(self, kind: str, text: str) -> bool:
        if self._next[:2] != (kind, text):
            return False
        self._advance()
        return True

    def _want(self, kind: str, text: str) -> None:
        if not self._take(kind, text):
            self._refuse(f"{text} must stand here")

    def _advance(self) -> _Token:
        token, self._next = self._next, next(self._tokens)
        return token

    def _refuse(self, problem: str) -> NoReturn:
        _refuse(self._text, self._next.at, problem)


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while True:
        rest = len(text) - len(text[at:].lstrip()) if at < len(text) and text[at].isspace() else at
        if rest >= len(text):
            while True:
                yield _Token("end", "", len(text))
        match = _TOKEN.match(text, at)
        kind = None if match is None else match.lastgroup
        if match is None or kind is None:
            _refuse(text, rest, "no word, number, text in quotes or sign of a filter begins here")
        found, start = match[kind], match.start(kind)
        if kind == "word" and found.lower() in _WORDS:
            found = found.lower()
        elif kind in ("word", "quoted"):
            kind, found = "name", found.strip("`")
        yield _Token(kind, found, start)
        at = match.end()


def _integer(text: str) -> int | float:
    return int(text) if len(text) < 40 else float(text)


def _refuse(text: str, at: int, problem: str) -> NoReturn:
    before, behind = text[max(0, at - 24) : at], text[at : at + 24]
    place = f"{'...' if at > 24 else ''}{before} >>> {behind}{'...' if at + 24 < len(text) else ''}"
    raise InvalidArgumentError(f"the filter does not parse at character {at + 1} ({place.strip()}): {problem}")
