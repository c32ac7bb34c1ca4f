"""The form of a query of Loki: brackets, strings and its stream selector. The language itself is not parsed."""

from __future__ import annotations

import re

_STRING = re.compile(r'"(?:\\.|[^"\\\n])*"|`[^`]*`')
_SELECTOR = re.compile(r'\{\s*(?:\w+\s*(?:=~|!~|!=|=)\s*""\s*,?\s*)+\}')
_PAIRS = {")": "(", "]": "[", "}": "{"}


def malformed(query: str) -> str:
    """What is wrong with the form of a query; empty if nothing."""
    bare = _bare(query)
    if any(quote in bare.replace('""', "") for quote in '"`'):
        return f"{query!r} is no LogQL: a string has no end"
    if not _SELECTOR.search(bare):
        return f'{query!r} is no LogQL: it selects no stream, such as {{app="headrace"}}'
    opened: list[str] = []
    for sign in bare:
        if sign in _PAIRS.values():
            opened.append(sign)
        elif sign in _PAIRS and (not opened or opened.pop() != _PAIRS[sign]):
            return f"{query!r} is no LogQL: a {sign!r} closes nothing"
    return f"{query!r} is no LogQL: a {opened[-1]!r} is not closed" if opened else ""


def ranges(query: str) -> list[str]:
    """What stands in brackets behind its streams: the times that it looks back."""
    return [found.strip() for found in re.findall(r"\[([^\[\]]*)\]", _bare(query))]


def _bare(query: str) -> str:
    return _STRING.sub('""', query)
