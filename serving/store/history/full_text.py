"""Words in conversations: in their titles, or in what was said in them."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import JSON, ColumnElement, Text, case, cast, exists, false, func, or_, select
from sqlalchemy.sql.elements import SQLCoreOperations

from serving.store import values
from serving.store.relational.tables import conversation_items, conversations

MOST = 8
"""Number of words of a query that are looked for; the shortest of more are left out."""

_BODY = cast(conversation_items.c.body, Text)


def contains(query: str, *, sqlite: bool) -> list[ColumnElement[bool]]:
    """Returns conditions that conversations meet in which each word of `query` stands, in any case: each in the title
    or in the text of a message.

    The longest come first: most conversations lack them.
    """
    words = sorted(dict.fromkeys(values.text("q", query).split()), key=len, reverse=True)
    return [_contains(word, sqlite=sqlite) for word in words[:MOST]]


def _contains(word: str, *, sqlite: bool) -> ColumnElement[bool]:
    text = _sqlite(word) if sqlite else _postgres(word)
    # As JSON has it: a text is taken apart only if the word is in it, be it in the name of a field.
    written = orjson.dumps(word).decode()[1:-1]
    inside = exists().where(
        conversation_items.c.conversation_id == conversations.c.id,
        conversation_items.c.tenant == conversations.c.tenant,
        _in(_BODY, written),
        text,
    )
    return or_(_in(conversations.c.title, word), inside.correlate(conversations))


def _in(text: SQLCoreOperations[str], word: str) -> ColumnElement[bool]:
    """Databases know the case of ASCII alone, or that of their locale: other words are given in each case."""
    forms = [word] if word.isascii() else dict.fromkeys((word, word.lower(), word.upper(), word.capitalize()))
    return or_(false(), *(text.icontains(form, autoescape=True) for form in forms))


def _sqlite(word: str) -> ColumnElement[bool]:
    part = func.json_each(conversation_items.c.body, "$.content").table_valued("value", "type", name="part")
    text: Any = case((part.c.type == "object", func.json_extract(part.c.value, "$.text")))
    return exists(select(part.c.value).where(_in(cast(text, Text), word)))


def _postgres(word: str) -> ColumnElement[bool]:
    # It cannot read NUL and half a pair of surrogates, which few texts have.
    without = func.regexp_replace(_BODY, r"\\u(0000|d[89a-f][0-9a-f]{2})", r"\\ufffd", "gi")
    readable = case((func.strpos(_BODY, r"\u") > 0, cast(without, JSON)), else_=conversation_items.c.body)
    content = readable["content"]
    parts = func.json_array_elements(case((func.json_typeof(content) == "array", content)))
    part = parts.column_valued("part")
    text: Any = part.op("->>")("text")
    return exists(select(part).where(_in(cast(text, Text), word)))
