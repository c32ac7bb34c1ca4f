"""Pages of what one row holds are pages of any other list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.store.errors import InvalidValue
from serving.store.relational.rows import part


@given(st.integers(0, 30), st.integers(1, 10), st.sampled_from(["asc", "desc"]))
def test_pages_are_the_whole_list(count, limit, order):
    items = [{"id": f"item_{n}"} for n in range(count)]
    found, after, more = [], None, True
    while more:
        page = part(items, after=after, limit=limit, max_limit=10, order=order)
        assert len(page.items) == limit or not page.has_more
        found += page.items
        after, more = page.items[-1]["id"] if page.items else None, page.has_more
    assert found == (items if order == "asc" else items[::-1])


@pytest.mark.parametrize(
    ("param", "bad"),
    [("limit", {"limit": 0}), ("limit", {"limit": 11}), ("order", {"order": "up"}), ("after", {"after": "none"})],
)
def test_invalid_pages_are_rejected(param, bad):
    with pytest.raises(InvalidValue) as e:
        part([{"id": "a"}], **{"after": None, "limit": 1, "max_limit": 10, "order": "asc"} | bad)
    assert e.value.param == param
