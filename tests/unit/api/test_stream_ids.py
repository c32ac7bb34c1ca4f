"""Ids of resumable streams, and of their events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.api.http_error import status_of
from serving.api.resumable.ids import StreamIds, last_event
from serving.core.principal import Principal
from serving.protocol.errors import ApiError

ME = Principal("t", "u", "k")


def test_ids_signed_with_the_previous_secret_are_valid():
    before, now = StreamIds("o" * 40), StreamIds("n" * 40, previous="o" * 40)
    id = before.new("10.0.0.7:4711", ME)
    assert now.owner(id, ME) == "10.0.0.7:4711"
    assert now.is_ticket(before.ticket(id), id)
    assert not before.is_ticket(now.ticket(id), id)
    assert not now.is_ticket(StreamIds("x" * 40).ticket(id), id)


@given(st.data())
def test_ids_are_bound_to_their_caller_and_tamper_proof(data):
    ids = StreamIds("s" * 32)
    id = ids.new("10.0.0.7:4711", ME)
    assert ids.owner(id, ME) == "10.0.0.7:4711"
    assert ids.owner(id, Principal("t", "u", "another key of the same user")) == "10.0.0.7:4711"
    at = data.draw(st.integers(0, len(id) - 1))
    letter = data.draw(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.é"))
    other = id[:at] + letter + id[at + 1 :]
    refused = [(id, Principal("t", "v", "k")), (id, Principal("s", "u", "k")), (id, Principal("tu", "", "k"))]
    refused += [(other, ME)] if other != id else []
    refused += [("", ME), (id + "A", ME), (id[:-1], ME), (StreamIds("z" * 32).new("10.0.0.7:4711", ME), ME)]
    for given_id, caller in refused:
        with pytest.raises(ApiError) as unknown:
            ids.owner(given_id, caller)
        assert (status_of(unknown.value), unknown.value.code) == (404, "not_found")


@pytest.mark.parametrize("given", ["7", "id.", "id.-1", "id.1.2", "other.1", "id.1e3", f"id.{10**9}", "id.٣"])
def test_foreign_or_invalid_last_event_ids_are_rejected(given):
    with pytest.raises(ApiError) as refused:
        last_event("id", given)
    assert (status_of(refused.value), refused.value.param) == (400, "last-event-id")


def test_without_a_last_event_id_a_stream_begins_at_its_beginning():
    assert (last_event("id", None), last_event("id", ""), last_event("id", "id.7")) == (0, 0, 7)
