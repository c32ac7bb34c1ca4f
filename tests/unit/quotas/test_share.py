"""Shares against the rule that they keep: what is in hand and what is used is never more than was handed out."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from serving.quotas.quota import Quota
from serving.quotas.share import PART, Share, Standing

LIMIT = 1000


def budget(limit: int = LIMIT, window: str = "day") -> Quota:
    return Quota("q", "acme", "tenant", "acme", window, "tokens", "", limit)  # type: ignore[arg-type]


class Gateways(RuleBasedStateMachine):
    """Three gateways, any of which may die, and a store that hands out as the real one does."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = self.used = self.really_used = 0
        self.time = 0.0
        self.shares = [Share(budget(), 0, 1e9) for _ in range(3)]
        self.reservations: list[tuple[int, int]] = []

    @rule(which=st.integers(0, 2), need=st.integers(1, 400), seconds=st.floats(0, 5))
    def reserve(self, which: int, need: int, seconds: float) -> None:
        self.time += seconds
        share = self.shares[which]
        missing = share.reserve(need)
        if missing:
            want = share.want(missing, need, self.time)
            if self.taken + want.need > LIMIT:
                standing = Standing(self.taken, self.used)
                share.settle(need - missing, 0)
                share.refuse(missing, standing, self.time)
                assert share.refused(need, self.time)
                return
            units = max(want.need, min(want.most, (LIMIT - self.taken) // PART))
            self.taken += units
            share.receive(units, missing, Standing(self.taken, self.used))
        self.reservations.append((which, need))

    @precondition(lambda self: self.reservations)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        which, need = self.reservations.pop(data.draw(st.integers(0, len(self.reservations) - 1)))
        used = data.draw(st.integers(0, need))
        self.really_used += used
        self.shares[which].settle(need, used)

    @rule(which=st.integers(0, 2), all=st.booleans())
    def post(self, which: int, all: bool) -> None:
        posting = self.shares[which].post(all=all)
        if posting is not None:
            self.taken -= posting.back
            self.used += posting.used
            self.shares[which].confirm_posting(Standing(self.taken, self.used))

    @rule(which=st.integers(0, 2))
    def surrender(self, which: int) -> None:
        self.shares[which].surrender()
        assert self.shares[which].free <= 0

    @rule(which=st.integers(0, 2))
    def die(self, which: int) -> None:
        """What it had reserved was used, for all that anybody knows."""
        self.really_used += sum(need for owner, need in self.reservations if owner == which)
        self.reservations = [each for each in self.reservations if each[0] != which]
        self.shares[which] = Share(budget(), 0, 1e9)

    @invariant()
    def nothing_is_over(self) -> None:
        assert self.really_used <= self.taken <= LIMIT
        assert self.used <= self.really_used
        assert all(share.free >= 0 and share.held >= 0 for share in self.shares)
        assert self.really_used + sum(need for _, need in self.reservations) <= LIMIT

    def teardown(self) -> None:
        """Everything comes back from gateways that live."""
        before = self.taken - self.used - sum(s.free + s.held + s.spent - s._owed for s in self.shares)
        while self.reservations:
            which, need = self.reservations.pop()
            self.shares[which].settle(need, 0)
        for which in range(3):
            self.post(which, True)
        assert self.taken - self.used == before  # what the dead had


TestGateways = Gateways.TestCase
TestGateways.settings = settings(max_examples=25, stateful_step_count=30)


@given(st.integers(0, 50), st.lists(st.integers(1, 20), max_size=30))
def test_without_the_store_no_more_than_the_limit_is_lent(limit, needs):
    share = Share(budget(limit, "minute"), 0, 60)
    lent = sum(need for need in needs if share.lend(need))
    assert lent <= limit
    assert share.held == lent
    share.settle(lent, lent // 2)
    posting = share.post(all=True)
    if lent // 2:
        assert posting is not None
        assert (posting.used, -posting.back) == (lent // 2, lent // 2)  # the rest is there and was never handed out
    assert share.post(all=True) is None


def test_usage_above_the_reservation_is_owed():
    share = Share(budget(), 0, 1e9)
    share.receive(10, share.reserve(10), Standing(10, 0))
    share.settle(10, 25)
    assert share.reserve(1) == 1  # nothing is in hand
    share.settle(0, 0)
    posting = share.post()
    assert posting is not None
    assert (posting.used, posting.back) == (25, -15)


def test_unneeded_shares_are_returned():
    share = Share(budget(), 0, 1e9)
    share.receive(100, share.reserve(20), Standing(100, 0))
    share.settle(20, 5)
    posting = share.post()
    assert posting is not None
    assert (posting.used, posting.back) == (5, 75)
    share.confirm_posting(Standing(25, 5))
    assert share.reserve(20) == 0
    share.settle(20, 0)
    share.post()
    assert (share.post(), share.free) == (None, 20)  # reserved between the two before
    assert share.post().back == 20  # type: ignore[union-attr]
    assert share.is_idle(1e9)


def test_small_shares_are_returned():
    share = Share(budget(100), 0, 1e9)
    share.receive(100, share.reserve(20), Standing(100, 0))
    share.settle(20, 5)
    assert share.scarce
    assert share.post().back == 95  # type: ignore[union-attr]


def test_the_more_often_it_is_empty_the_more_it_takes():
    share = Share(budget(10**6), 0, 1e9)
    asked = [share.want(10, 10, at).most for at in (0.0, 0.5, 1.0, 1.5, 9.0, 20.0, 40.0)]
    assert asked == [10, 20, 40, 80, 40, 20, 10]
