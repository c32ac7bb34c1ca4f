"""A check of the form of Loki's queries: brackets, strings and stream selectors, without parsing LogQL."""

from __future__ import annotations

import re

_STRING = re.compile(r'"(?:\\.|[^"\\\n])*"|`[^`]*`')
_SELECTOR = re.compile(r'\{\s*(?:\w+\s*(?:=~|!~|!=|=)\s*""\s*,?\s*)+\}')
_PAIRS = {")": "(", "]": "[", "}": "{"}


def form_problem(query: str) -> str:
    """Returns what is wrong with the form of a query; empty if nothing is."""
    bare = _without_strings(query)
    if any(quote in bare.replace('""', "") for quote in '"`'):
        return f"{query!r} is not valid LogQL: a string is not closed"
    if not _SELECTOR.search(bare):
        return f'{query!r} is not valid LogQL: it has no stream selector, such as {{app="headrace"}}'
    opened: list[str] = []
    for sign in bare:
        if sign in _PAIRS.values():
            opened.append(sign)
        elif sign in _PAIRS and (not opened or opened.pop() != _PAIRS[sign]):
            return f"{query!r} is not valid LogQL: a {sign!r} closes nothing"
    return f"{query!r} is not valid LogQL: a {opened[-1]!r} is not closed" if opened else ""


def ranges(query: str) -> list[str]:
    """Returns the ranges of a query: what is in brackets behind its stream selectors."""
    return [found.strip() for found in re.findall(r"\[([^\[\]]*)\]", _without_strings(query))]


def _without_strings(query: str) -> str:
    return _STRING.sub('""', query)
