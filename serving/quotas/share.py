"""A gateway's share of one window of a quota: most requests are admitted from it without asking the store.

The store counts what it handed out. A gateway reserves from what it has in hand, and hands back what was not used. So
the sum of what gateways have and of what was used never exceeds the limit, whatever dies: what a gateway that was
killed had in hand counts as used until the window ends. That is why it has no more in hand than it needs soon.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

from serving.quotas.quota import Quota

QUICK_S = 2.0
"""A share that is empty again so soon after it was filled is filled with twice as much."""

MOST_PACE = 512
"""Requests at most that a share is filled for: about what a gateway answers in a second."""

PART = 8
"""One share is filled with at most this part of what is left for all: 3 gateways come to the end together."""

IDLE_S = 600.0
"""An empty share that was not filled for so long is forgotten."""

REFUSED_S = 1.0
"""What the store refused is refused for so long without asking again."""


@dataclass(frozen=True, slots=True)
class Want:
    """What is asked of the store: at least `need`, and up to `most` while much is left."""

    quota: Quota
    start: int
    end: float
    need: int
    most: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A window as the store has it: units that were handed out, and those of them that are known to be used."""

    taken: int
    used: int


@dataclass(frozen=True, slots=True)
class Posting:
    """What the store is told: units `used`, and units handed `back` (below zero: that were used without asking)."""

    quota: Quota
    start: int
    end: float
    used: int
    back: int


class Share:
    """Units of one window: `free` to be reserved, `held` by requests under way, `spent` as the store does not know yet.

    `free` is below zero when requests used more than was reserved for them. Times are unix seconds.
    """

    __slots__ = (
        "_asked_at",
        "_before",
        "_demand",
        "_lent",
        "_owed",
        "_pace",
        "_posted",
        "_refused",
        "end",
        "filling",
        "free",
        "held",
        "quota",
        "spent",
        "standing",
        "start",
    )

    def __init__(self, quota: Quota, start: int, end: float) -> None:
        self.quota = quota
        self.start = start
        self.end = end
        self.free = 0
        self.held = 0
        self.spent = 0
        self.standing = Standing(0, 0)
        self.filling = asyncio.Lock()
        self._pace = 1
        self._asked_at = -math.inf
        self._demand = 0  # reserved since the last posting, and between the two before
        self._before = 0
        self._lent = 0  # while the store was gone
        self._owed = 0
        self._refused = (-math.inf, 0)
        self._posted = (0, 0)  # used and handed back, while the store is being told

    @property
    def left(self) -> int:
        """Units that a request can have, as far as this gateway knows."""
        return max(self.quota.limit - self.standing.taken + self.free - self._owed + self._posted[1], 0)

    @property
    def use(self) -> float:
        """The part of the limit that is used, or in the hands of other gateways."""
        used = self.standing.taken + self._owed - self.free - self.held - self._posted[1]
        return used / self.quota.limit if self.quota.limit else 1.0

    def spends(self, need: int) -> bool:
        """Whether too little for `need` is left, even when all comes back that was not used."""
        return self.standing.used + self._posted[0] + self.spent + need > self.quota.limit

    @property
    def exhausted(self) -> bool:
        """Whether nobody can have anything until the window ends."""
        return self.standing.used + self.spent >= self.quota.limit

    @property
    def scarce(self) -> bool:
        """Whether other gateways may lack what lies here."""
        return self.quota.limit - self.standing.taken < PART * max(self._demand, self._before)

    def is_idle(self, at: float) -> bool:
        """Whether nothing would be forgotten with it, and nobody asks for it."""
        empty = not (self.free or self.held or self.spent or self._owed)
        return empty and (self.end <= at or at - self._asked_at > IDLE_S)

    def reserve(self, need: int) -> int:
        """Reserves what is in hand of `need`, and returns how much is missing."""
        self._demand += need
        return self.top_up(need)

    def top_up(self, missing: int) -> int:
        """Reserves what has come in hand of what was missing, and returns how much still is."""
        there = min(max(self.free, 0), missing)
        self._hold(there)
        return missing - there

    def _hold(self, units: int) -> None:
        self.free -= units
        self.held += units

    def settle(self, reserved: int, used: int) -> None:
        """Ends a reservation: what was not used is free again."""
        self.held -= reserved
        self.free += reserved - used
        self.spent += used

    def want(self, missing: int, need: int, at: float) -> Want:
        """Returns what to ask the store for, when a request that needs `need` lacks some: the more often, the more."""
        if at - self._asked_at < QUICK_S:
            self._pace = min(self._pace * 2, MOST_PACE)
        else:
            self._pace = max(self._pace // 2, 1)
        self._asked_at = at
        return Want(self.quota, self.start, self.end, missing, missing + need * (self._pace - 1))

    def receive(self, units: int, missing: int, standing: Standing) -> None:
        """Takes in what the store handed out, and reserves what was missing."""
        self.free += units
        self.standing = standing
        self._hold(missing)

    def refuse(self, missing: int, standing: Standing, at: float) -> None:
        """Notes that the store has less than that."""
        self.standing = standing
        self._refused = (at, missing)

    def refused(self, need: int, at: float) -> bool:
        """Whether the store just refused as much as a request would lack."""
        asked_at, units = self._refused
        return 0 <= at - asked_at < REFUSED_S and need - max(self.free, 0) >= units

    def lend(self, missing: int) -> bool:
        """Reserves units without the store, up to the limit in all, and says whether there were enough."""
        in_use = self.held if self.quota.window == "concurrent" else self._lent
        if in_use + missing > self.quota.limit:
            return False
        self._lent += missing
        self._owed += missing
        self.held += missing
        return True

    def surrender(self) -> None:
        """Lets nothing more be reserved of what is in hand: the limit is another."""
        self._before = self._demand = 0
        self._refused = (-math.inf, 0)
        self._owed -= max(self.free, 0)
        self.free = min(self.free, 0)

    def post(self, *, all: bool = False) -> Posting | None:
        """Takes out what the store is to be told, None if that is nothing.

        What was reserved lately is kept in hand, unless little is left for the other gateways.
        """
        lately, scarce = max(self._demand, self._before), self.scarce
        self._before, self._demand = self._demand, 0
        keep = 0 if all or scarce else lately
        back = min(self.free, max(self.free - keep, 0)) - self._owed
        spent = self.spent
        if not back and not spent:
            return None
        self.free -= back + self._owed
        self.spent = self._owed = 0
        self._posted = (spent, back)
        return Posting(self.quota, self.start, self.end, spent, back)

    def owe(self, units: int) -> None:
        """Owes the store units that it noted elsewhere."""
        self._owed += units

    def confirm_posting(self, standing: Standing) -> None:
        """The store was told, and this is how the window stands."""
        self.standing = standing
        self._posted = (0, 0)

    def take_back_posting(self) -> None:
        """The store was not told: what was taken out for it is here again."""
        used, back = self._posted
        self.spent += used
        self.free += back
        self._posted = (0, 0)

    def take_over(self) -> None:
        """Owes the store all that is in hand: it knows nothing of it any more."""
        self._owed = self.free + self.held
