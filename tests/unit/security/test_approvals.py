"""Approvals: signed, for one caller, assistant, tool and arguments, and for ten minutes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.core.principal import Principal
from serving.security.approvals import MAX_ID, PREFIX, ApprovalError, Approvals

ALICE = Principal(tenant="acme", user="alice", key_id="key_a")
SECRET, DIGEST = "s" * 40, "d" * 64


def code(approvals, id, caller=ALICE, assistant="docs"):
    with pytest.raises(ApprovalError) as error:
        approvals.read(id, caller, assistant)
    assert id == "" or id not in str(error.value)
    return error.value.code


def said(approvals, id, caller=ALICE, assistant="docs"):
    approval = approvals.read(id, caller, assistant)
    return approval.tool, approval.digest, approval.expires_at


def test_any_replica_reads_it():
    id, expires_at = Approvals(SECRET, lambda: 1000.9).offer(ALICE, "docs", "post", DIGEST)
    assert expires_at == 1600
    other_key = replace(ALICE, key_id="key_b")
    assert said(Approvals(SECRET, lambda: 1599.9), id, other_key) == ("post", DIGEST, expires_at)


def test_approvals_distinguish_all_arguments():
    approvals = Approvals(SECRET)
    (id, _), (other, _) = (approvals.offer(ALICE, "docs", "posts", DIGEST) for _ in range(2))
    known = approvals.read(id, ALICE, "docs")
    assert known.id != approvals.read(other, ALICE, "docs").id
    padded = id + "=" * (-len(id.removeprefix(PREFIX)) % 4)
    assert padded != id
    for spelled in (padded, id[:-1] + chr(ord(id[-1]) + 1)):  # bits that say nothing
        assert approvals.read(spelled, ALICE, "docs") == known


def test_approvals_expire():
    id, _ = Approvals(SECRET, lambda: 1000).offer(ALICE, "docs", "post", DIGEST)
    assert code(Approvals(SECRET, lambda: 1600), id) == "expired_approval"


@pytest.mark.parametrize(
    ("caller", "assistant"),
    [(replace(ALICE, tenant="evil"), "docs"), (replace(ALICE, user="bob"), "docs"), (ALICE, "other"), (ALICE, "")],
)
def test_approvals_are_bound_to_caller_and_assistant(caller, assistant):
    approvals = Approvals(SECRET)
    id, _ = approvals.offer(ALICE, "docs", "post", DIGEST)
    assert code(approvals, id, caller, assistant) == ("foreign_approval" if caller == ALICE else "invalid_approval")


def test_approvals_require_the_derived_key():
    id, _ = Approvals("t" * 40).offer(ALICE, "docs", "post", DIGEST)
    assert code(Approvals(SECRET), id) == "invalid_approval"
    assert "s" * 40 not in repr(Approvals(SECRET))


@pytest.mark.parametrize(
    "id", ["", "apr_", "apr_AAAA", "x", "apr_" + "A" * 100, "apr_é", "apr_" + "A" * MAX_ID, "apr_!", "\ud800"]
)
def test_invalid_approvals_are_rejected(id):
    assert code(Approvals(SECRET), id) == "invalid_approval"


@given(st.data())
def test_a_changed_character_is_noticed(data):
    approvals = Approvals(SECRET)
    id, _ = approvals.offer(ALICE, "docs", "post", DIGEST)
    # What is drawn must not depend on the id, which is another one each time.
    place = data.draw(st.integers(0, len(id) - 2))  # bits of the last may mean nothing
    character, other = data.draw(st.lists(st.sampled_from("ABab01-_=x"), min_size=2, max_size=2, unique=True))
    character = other if character == id[place] else character
    assert code(approvals, id[:place] + character + id[place + 1 :]) == "invalid_approval"


@given(*[st.text(max_size=20)] * 4)
def test_any_names_can_be_approved(tenant, user, assistant, tool):
    caller = Principal(tenant=tenant, user=user, key_id="k")
    approvals = Approvals(SECRET)
    id, _ = approvals.offer(caller, assistant, tool, DIGEST)
    assert said(approvals, id, caller, assistant)[:2] == (tool, DIGEST)
    assert id.isascii()


def test_approvals_survive_a_secret_rotation() -> None:
    id, _ = Approvals("o" * 40).offer(ALICE, "docs", "post", DIGEST)
    assert said(Approvals(SECRET, previous="o" * 40), id)[:2] == ("post", DIGEST)
    new, _ = Approvals(SECRET, previous="o" * 40).offer(ALICE, "docs", "post", DIGEST)
    assert code(Approvals("o" * 40), new) == "invalid_approval"
