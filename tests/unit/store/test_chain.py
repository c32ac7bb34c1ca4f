"""Whatever is done to a chain without its key is found."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.store.audit_chain import (
    FIELDS,
    GENESIS,
    PRUNED,
    Anchor,
    Verifier,
    anchor,
    chain_key,
    event_hash,
    genuine,
    key_id,
)

KEY = chain_key("s" * 32)
OTHER = chain_key("t" * 32)
Chain = list[dict[str, Any]]

names = st.text(max_size=8)
details = st.dictionaries(names, st.one_of(names, st.integers(-(2**53), 2**53), st.booleans(), st.none()), max_size=3)
parts = st.fixed_dictionaries(
    {
        "at": st.integers(0, 2**48),
        "actor": st.none() | names,
        "key_id": st.none() | names,
        "action": names,
        "target": st.none() | names,
        "subject": st.none() | names,
        "outcome": names,
        "request_id": st.none() | names,
        "detail": details,
    }
)
chains = st.lists(parts, min_size=1, max_size=6).map(lambda events: linked(events))


def linked(events: Chain, seq: int = 1, previous: str = GENESIS, keys: tuple[bytes, ...] = (KEY,)) -> Chain:
    """A chain of events whose keys take turns."""
    made = []
    for number, event in enumerate(events, seq):
        key = keys[number % len(keys)]
        row = {**event, "tenant": "acme", "seq": number, "previous": previous, "signed_with": key_id(key)}
        previous = event_hash(key, row)
        made.append(row | {"hash": previous})
    return made


def problems(chain: Chain, *anchors: Anchor, key: bytes = KEY) -> list[str]:
    verifier = Verifier([key], "acme", anchors)
    for event in chain:
        verifier.read(event)
    found = [problem.message for problem in verifier.end()]
    return found + ["unchecked"] * verifier.unchecked


def end_of(chain: Chain) -> Anchor:
    return anchor(KEY, "acme", chain[-1]["seq"], chain[-1]["hash"], 1)


@given(chains)
def test_a_chain_is_as_it_was_written(chain: Chain):
    assert problems(chain) == []
    assert problems(chain, end_of(chain), end_of(chain[:1])) == []
    assert problems(chain, key=OTHER) == ["unchecked"] * len(chain)


@given(st.lists(parts, min_size=2, max_size=6), st.data())
def test_a_chain_of_two_keys_is_checked_with_both(events: Chain, data: st.DataObject):
    chain = linked(events, keys=(KEY, OTHER))
    whole = Verifier([KEY, OTHER], "acme", [end_of(chain)])
    half = Verifier([KEY], "acme", [anchor(OTHER, "acme", 99, "a" * 64, 1)])
    for event in chain:
        whole.read(event)
        half.read(event)
    assert (whole.end(), whole.unchecked) == ([], 0)
    assert (half.end(), half.unchecked) == ([], (len(chain) + 1) // 2 + 1)
    event = data.draw(st.sampled_from(chain))
    event["action"] += "x"
    again = Verifier([KEY, OTHER], "acme")
    for each in chain:
        again.read(each)
    assert again.end()
    assert again.unchecked == 0


@given(chains, st.data())
def test_every_change_of_a_field_is_found(chain: Chain, data: st.DataObject):
    changed = copy.deepcopy(chain)
    event = data.draw(st.sampled_from(changed))
    field = data.draw(st.sampled_from(FIELDS))
    other = st.none() | names | st.integers() | details | st.floats(allow_nan=True)
    event[field] = data.draw(other.filter(lambda value: value != event[field]))
    assert problems(changed)


@given(chains, st.data())
def test_every_deletion_repetition_and_move_is_found(chain: Chain, data: st.DataObject):
    i = data.draw(st.integers(0, len(chain) - 1))
    assert problems([*chain[: i + 1], *chain[i:]])
    assert problems(chain[:i] + chain[i + 1 :], end_of(chain))
    if i < len(chain) - 1:
        assert problems(chain[:i] + chain[i + 1 :])
        assert problems([*chain[:i], chain[i + 1], chain[i], *chain[i + 2 :]])


@given(chains, st.integers(0, 5))
def test_a_cut_end_is_found_by_an_anchor(chain: Chain, left: int):
    cut = chain[: min(left, len(chain) - 1)]
    assert problems(cut, end_of(chain))
    assert problems(cut) == []  # and by nothing else


def test_another_history_of_equal_length_is_found():
    chain = linked([{**dict.fromkeys(FIELDS), "at": n, "detail": {}} for n in range(3)])
    other = linked([{**dict.fromkeys(FIELDS), "at": n, "detail": {}} for n in range(3, 6)])
    assert problems(other) == []
    assert problems(other, end_of(chain))


def test_events_of_another_chain_and_with_more_fields_are_found():
    [event] = linked([{**dict.fromkeys(FIELDS), "at": 1, "detail": {}}])
    assert problems([event | {"more": 1}])
    verifier = Verifier([KEY], "other")
    verifier.read(event)
    assert verifier.end()


def test_chains_may_start_late_only_after_a_prune_event():
    blank = {**dict.fromkeys(FIELDS), "at": 1, "detail": {}}
    whole = linked([blank] * 4)
    pruned = blank | {"action": PRUNED, "detail": {"through": 2, "hash": whole[1]["hash"]}}
    chain = whole + linked([pruned], 5, whole[-1]["hash"])
    assert problems(chain[2:], end_of(chain[:1]), end_of(chain)) == []
    assert problems(chain[1:])
    assert problems(chain[3:])
    assert problems(whole[2:])


@pytest.mark.parametrize("field", ["tenant", "seq", "hash", "at", "signed_with", "mac"])
def test_an_anchor_is_the_keys_own(field: str):
    made = anchor(KEY, "acme", 3, "a" * 64, 5)
    assert genuine(KEY, made)
    changed = Anchor(**{**{n: getattr(made, n) for n in Anchor.__slots__}, field: 9 if field in ("seq", "at") else "b"})
    assert not genuine(KEY, changed)
    assert not genuine(chain_key("t" * 32), made)
