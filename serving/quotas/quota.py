"""A quota: how much of what somebody may use, and which quotas a request is held to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from serving.config import MONEY_PLACES, Measure, QuotaLimit, Quotas, Subject, Window
from serving.core.principal import Principal

SetBy = Literal["platform", "tenant", "configuration"]
"""Who set a quota: the platform, an admin of the tenant, or nobody but the configuration."""


@dataclass(frozen=True, slots=True)
class Quota:
    """A limit of a subject; `limit` is in units, of money in billionths. `currency` is empty for all but money.

    `set_by` says who can change it. A subject can have one of the platform and one of its tenant, and both hold.
    """

    id: str
    tenant: str
    subject: Subject
    subject_id: str
    window: Window
    measure: Measure
    currency: str
    limit: int
    set_by: SetBy = "platform"

    @property
    def is_budget(self) -> bool:
        """Whether it is for a day or a month: such a limit holds whatever happens."""
        return self.window in ("day", "month")

    @property
    def description(self) -> str:
        """What it is, without what the caller or others chose."""
        what = f"{self.measure} in {self.currency}" if self.currency else self.measure.replace("_", " ")
        when = {"concurrent": "at once", "total": "in all"}.get(self.window, f"per {self.window}")
        return f"{what} {when} of this {self.subject}"


class QuotaExceeded(Exception):
    """Too little is left of `quota`; `spent` says that it is used, and not only reserved by requests under way."""

    def __init__(self, quota: Quota, retry_after_s: float | None, *, spent: bool) -> None:
        super().__init__(quota.description)
        self.quota = quota
        self.retry_after_s = retry_after_s
        self.spent = spent


def quota(tenant: str, subject: Subject, subject_id: str, limit: QuotaLimit, set_by: SetBy = "platform") -> Quota:
    """Returns the quota that `limit` is for a subject of a tenant.

    One of the configuration has the id of the platform's that takes its place: what was used of it stays used.
    """
    currency = limit.currency or ""
    name = [tenant, subject, subject_id, limit.window, limit.measure, currency]
    if set_by == "tenant":
        name.append(set_by)
    id = hashlib.sha256(json.dumps(name).encode()).hexdigest()
    return Quota(id, tenant, subject, subject_id, limit.window, limit.measure, currency, limit.units, set_by)


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

    def quotas_for(self, principal: Principal, model: str) -> tuple[Quota, ...]:
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
            found.update({each.id: each for each in self.defaults(principal.tenant, subject, id)})
            found.update(self._given.get((principal.tenant, subject, id), {}))
        found.update(self._given.get((principal.tenant, "key", principal.key_id), {}))  # of one of an account's keys
        return tuple(found[id] for id in sorted(found))

    def defaults(self, tenant: str, subject: Subject, id: str) -> list[Quota]:
        """Returns what the configuration says of a subject, but where another limit took its place.

        Of a tenant only the platform sets another, of its users and keys the tenant's admins do too.
        """
        given = self._given.get((tenant, subject, id), {})
        placed = {
            (each.window, each.measure, each.currency)
            for each in given.values()
            if each.set_by == "platform" or subject != "tenant"
        }
        defaults = (quota(tenant, subject, id, limit, "configuration") for limit in self._defaults.get(subject, ()))
        return [each for each in defaults if (each.window, each.measure, each.currency) not in placed]

    def current(self, old: Quota) -> Quota | None:
        """Returns a quota as it is now, None when there is none any more."""
        given = self._given.get((old.tenant, old.subject, old.subject_id), {})
        defaults = self.defaults(old.tenant, old.subject, old.subject_id)
        return given.get(old.id) or next((each for each in defaults if each.id == old.id), None)

    def ceiling(self, below: Quota) -> Quota | None:
        """Returns the platform's limit of the same use, above which a tenant's says nothing; None without one."""
        alike = [
            each
            for each in (
                *self._given.get((below.tenant, below.subject, below.subject_id), {}).values(),
                *(self.defaults(below.tenant, "tenant", below.subject_id) if below.subject == "tenant" else ()),
            )
            if each.set_by != "tenant"
            and (each.window, each.measure, each.currency) == (below.window, below.measure, below.currency)
        ]
        return min(alike, key=lambda each: each.limit, default=None)
