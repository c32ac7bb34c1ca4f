"""A quota: how much of what somebody may use, and which quotas a request is held to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from serving.config import MONEY_PLACES, Measure, QuotaLimit, Quotas, Subject, Window
from serving.security.principal import Principal


@dataclass(frozen=True, slots=True)
class Quota:
    """A limit of a subject; `limit` is in units, of money in billionths. `currency` is empty for all but money."""

    id: str
    tenant: str
    subject: Subject
    subject_id: str
    window: Window
    measure: Measure
    currency: str
    limit: int

    @property
    def is_budget(self) -> bool:
        """Whether it is for a day or a month: such a limit holds whatever happens."""
        return self.window in ("day", "month")

    @property
    def words(self) -> str:
        """What it is, without what the caller or others chose."""
        what = f"{self.measure} in {self.currency}" if self.currency else self.measure
        when = "at once" if self.window == "concurrent" else f"per {self.window}"
        return f"{what} {when} of this {self.subject}"


def quota(tenant: str, subject: Subject, subject_id: str, limit: QuotaLimit) -> Quota:
    """Returns the quota that `limit` is for a subject of a tenant."""
    currency = limit.currency or ""
    name = [tenant, subject, subject_id, limit.window, limit.measure, currency]
    id = hashlib.sha256(json.dumps(name).encode()).hexdigest()
    return Quota(id, tenant, subject, subject_id, limit.window, limit.measure, currency, limit.units)


def amount(units: int, measure: Measure) -> Decimal:
    """Returns what `units` of a measure are, of money in its currency."""
    return Decimal(units).scaleb(-MONEY_PLACES) if measure == "money" else Decimal(units)


class Rules:
    """The quotas that were set, and the defaults beside them. Immutable: a change makes new rules."""

    def __init__(self, defaults: Quotas, given: Iterable[Quota] = ()) -> None:
        self._defaults: Mapping[Subject, tuple[QuotaLimit, ...]] = {
            "tenant": defaults.tenant,
            "user": defaults.user,
            "key": defaults.key,
        }
        self._given: dict[tuple[str, Subject, str], dict[str, Quota]] = {}
        for each in given:
            self._given.setdefault((each.tenant, each.subject, each.subject_id), {})[each.id] = each
        self._none = not self._given and not any(self._defaults.values())

    def of(self, principal: Principal, model: str) -> tuple[Quota, ...]:
        """Returns what a request for `model` is held to, in the order of ids."""
        if self._none:
            return ()
        found: dict[str, Quota] = {}
        subjects: tuple[tuple[Subject, str], ...] = (
            ("tenant", principal.tenant),
            ("user", principal.user),
            ("key", principal.account or principal.key_id),
            ("model", model),
        )
        for subject, id in subjects:
            for limit in self._defaults.get(subject, ()):
                default = quota(principal.tenant, subject, id, limit)
                found[default.id] = default
            found.update(self._given.get((principal.tenant, subject, id), {}))
        found.update(self._given.get((principal.tenant, "key", principal.key_id), {}))  # of one of an account's keys
        return tuple(found[id] for id in sorted(found))

    def current(self, old: Quota) -> Quota | None:
        """Returns a quota as it is now, None when there is none any more."""
        given = self._given.get((old.tenant, old.subject, old.subject_id), {})
        defaults = (
            quota(old.tenant, old.subject, old.subject_id, limit) for limit in self._defaults.get(old.subject, ())
        )
        return given.get(old.id) or next((each for each in defaults if each.id == old.id), None)
