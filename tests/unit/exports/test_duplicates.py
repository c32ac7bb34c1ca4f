from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.exports.duplicates import DigestSet
from serving.store.errors import StoreUnavailable


@given(st.lists(st.binary(max_size=2)))
def test_duplicates_are_detected(digests: list[bytes]) -> None:
    known: set[bytes] = set()
    with DigestSet() as seen:
        for digest in digests:
            assert seen.add(digest) == (digest not in known)
            known.add(digest)


def test_a_full_disk_is_reported() -> None:
    with DigestSet() as seen:
        seen._connection.execute("PRAGMA max_page_count = 4")
        with pytest.raises(StoreUnavailable, match="temporary"):
            for i in range(10_000):
                seen.add(i.to_bytes(32))
