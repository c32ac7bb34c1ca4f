"""What a gateway does with stored releases: targets within the bounds, and when releases end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from serving.config import Alias, Catalog, Managed, RemoteModel
from serving.engines.router import ModelRouter, ReleasedTargets
from serving.hub import release_keeper
from serving.hub.canary import CanaryOutcome, begun, counted, document_of
from serving.hub.release_keeper import GRACE_S, ReleaseKeeper
from serving.hub.releases import Release
from serving.store.errors import Conflict
from serving.store.objects.live_adapters import LiveAdapter

GUARDS = ("errors",)


class Stored:
    """Releases and outcomes, as the store has them."""

    def __init__(self):
        self.running = []
        self.promoted = {}
        self.outcomes = []
        self.judged = []
        self.fails = None

    async def open(self):
        return list(self.running)

    async def live(self, aliases):
        return [each for each in self.running if each.alias in aliases], self.promoted

    async def base(self, alias, managed, usable):
        return managed.base

    async def between(self, release, managed, after, until):
        return self.outcomes, until

    async def judge(self, release, until, tallies, change=None, reason="requested"):
        if self.fails is not None:
            raise self.fails
        self.judged.append((change, reason))
        return True


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        at = 1000.0

    monkeypatch.setattr(release_keeper, "now", lambda: Clock.at)
    return Clock


@pytest.fixture
def stored():
    return Stored()


@pytest.fixture
def released():
    return ReleasedTargets()


@pytest.fixture
def keeper(stored, released, clock):
    keeper = ReleaseKeeper(stored, stored, released, lambda: keeper.router)  # ty: ignore[missing-attribute]
    configure(keeper)
    return keeper


def configure(keeper, models=("base", "new"), aliases=("chat",), live=(), **bounds):
    url = "http://127.0.0.1:9/v1"
    managed = Managed(**{"base": "base", "max_canary": 0.2, "guards": GUARDS, "max_hours": 1} | bounds)
    catalog = Catalog(
        models=tuple(RemoteModel(name=name, url=url) for name in models),
        aliases=tuple(Alias(name=name, managed=managed) for name in aliases),
    )
    keeper.router = ModelRouter(catalog, live)
    keeper.configure(catalog)


def release(**changes):
    made = Release(
        id="roll_1",
        tenant="default",
        alias="chat",
        target="new",
        version=None,
        base="base",
        share=0.1,
        evaluation=None,
        gate_override=None,
        status="canary",
        reason="",
        revision=1,
        judged_until=990.0,
        tallies=document_of(begun(GUARDS)),
        created_at=990.0,
        created_by=None,
        ended_at=None,
    )
    return replace(made, **changes)


def bad(number):
    """Pairs in which only the canary's outcome is bad."""
    return [CanaryOutcome("requests", canary, "errors" if canary else None, 991.0) for canary in (False, True)] * number


def shares(released):
    return {target.model: round(target.weight, 3) for target in released.for_alias("chat")}


@pytest.mark.parametrize(
    ("running", "promoted", "bounds", "found"),
    [
        ([], {}, {}, {"base": 1}),
        ([release()], {}, {}, {"base": 0.9, "new": 0.1}),
        ([release(share=0.5)], {}, {}, {"base": 0.8, "new": 0.2}),
        ([release(status="paused")], {}, {}, {"base": 1}),
        ([release(target="gone")], {}, {}, {"base": 1}),
        ([], {"chat": release(status="promoted")}, {}, {"new": 1}),
        ([], {"chat": release(status="promoted", target="gone")}, {}, {"base": 1}),
        ([release(base="gone")], {"chat": release(status="promoted", target="gone")}, {}, {"base": 0.9, "new": 0.1}),
        ([release()], {}, {"pin": "base"}, {}),
    ],
)
async def test_targets_follow_releases_within_the_bounds(keeper, stored, released, running, promoted, bounds, found):
    configure(keeper, **bounds)
    stored.running, stored.promoted = running, promoted
    await keeper.refresh()
    assert shares(released) == found


@pytest.mark.parametrize(
    ("outcomes", "bounds", "at", "change"),
    [
        (bad(12), {}, 1000, ("rollback", "guards")),
        (bad(3), {}, 1000, (None, "requested")),
        ([], {}, 990 + 3601, ("rollback", "undecided")),
        ([], {"max_hours": 2}, 990 + 3601, (None, "requested")),
    ],
)
async def test_outcomes_and_hours_end_a_release(keeper, stored, clock, outcomes, bounds, at, change):
    configure(keeper, **bounds)
    stored.running, stored.outcomes, clock.at = [release()], outcomes, at
    await keeper.look()
    assert stored.judged == [change]


VERSION = {"version": "mver_1"}


@pytest.mark.parametrize(
    ("changed", "auto", "change"),
    [
        ({}, True, "promote"),
        ({}, False, None),
        ({"status": "paused"}, True, None),
        (VERSION | {"evaluation": "eval_1"}, True, "promote"),
        (VERSION | {"gate_override": "a drill"}, True, "promote"),
        (VERSION, True, None),
        (VERSION | {"evaluation": "eval_1", "base": "what answered then"}, True, None),
    ],
)
async def test_only_a_running_canary_that_has_passed_the_gate_is_promoted_by_itself(
    keeper, stored, changed, auto, change
):
    configure(keeper, auto_promote=auto)
    good = [CanaryOutcome("requests", canary, None, 991.0) for canary in (False, True)] * 150
    stored.running, stored.outcomes = [release(**changed)], good
    await keeper.look()
    assert stored.judged == [(change, "no_worse" if change else "requested")]


@pytest.mark.parametrize(
    ("changed", "reason"), [({"models": ("base",)}, "target_missing"), ({"aliases": ("other",)}, "not_managed")]
)
async def test_a_configuration_without_the_target_ends_a_release_only_if_it_stays(
    keeper, stored, clock, changed, reason
):
    """While a configuration is applied, gateways have different ones."""
    stored.running = [release()]
    configure(keeper, **changed)
    await keeper.look()
    clock.at += GRACE_S - 1
    await keeper.look()
    assert stored.judged == []
    clock.at += 2
    await keeper.look()
    assert stored.judged == [("rollback", reason)]


async def test_a_target_that_came_back_has_the_whole_time_again(keeper, stored, clock):
    stored.running = [release()]
    for models in (("base",), ("base", "new"), ("base",)):
        configure(keeper, models=models)
        await keeper.look()
        clock.at += GRACE_S - 1
    await keeper.look()
    assert "rollback" not in [change for change, _ in stored.judged]
    clock.at += 2
    await keeper.look()
    assert stored.judged[-1] == ("rollback", "target_missing")


async def test_an_adapter_is_released_once_it_is_live(keeper, stored, released):
    stored.running = [release(target="acme.docs.1")]
    await keeper.refresh()
    assert shares(released) == {"base": 1}
    configure(keeper, live=[("base", LiveAdapter("acme.docs.1", "mver_1", (), 8, ("acme",)))])
    await keeper.refresh()
    assert shares(released) == {"base": 0.9, "acme.docs.1": 0.1}


async def test_a_release_that_is_changed_at_the_same_time_is_left_alone(keeper, stored, released):
    stored.running, stored.outcomes, stored.fails = [release()], bad(12), Conflict("it was promoted")
    await keeper.look()
    assert shares(released) == {"base": 0.9, "new": 0.1}


async def test_that_nothing_happened_is_seldom_stored(keeper, stored, clock):
    stored.running, clock.at = [release()], 992.0
    await keeper.look()
    assert stored.judged == []
    clock.at = 1021.0
    await keeper.look()
    assert stored.judged == [(None, "requested")]


def shown(name, **labels):
    return REGISTRY.get_sample_value(f"headrace_release_{name}", {"alias": "chat", **labels})


async def test_what_was_counted_of_canary_and_base_is_shown_until_the_release_ends(keeper, stored):
    guards = ("errors", "truncation", "ratings")
    outcomes = [
        *(CanaryOutcome("requests", True, guard, 991.0) for guard in ("errors", "truncation", "truncation", None)),
        *(CanaryOutcome("requests", False, guard, 991.0) for guard in ("errors", None)),
        CanaryOutcome("ratings", True, "ratings", 991.0),
        CanaryOutcome("ratings", False, None, 991.0),
    ]
    configure(keeper, guards=guards)
    stored.running = [release(tallies=document_of(counted(begun(guards), outcomes)))]
    await keeper.refresh()
    found = {
        model: (
            *(shown("outcomes", model=model, kind=kind) for kind in ("requests", "ratings")),
            *(shown("bad_outcomes", model=model, guard=guard) for guard in (*guards, "first_token")),
        )
        for model in ("new", "base")
    }
    # No guard of this alias looks at the time to the first token: nothing is known of it.
    assert found == {"new": (4, 1, 1, 2, 1, None), "base": (2, 1, 1, 0, 0, None)}
    assert shown("first_token_seconds_count", model="new") == 0
    stored.running = []
    await keeper.refresh()
    assert shown("outcomes", model="new", kind="requests") == shown("bad_outcomes", model="base", guard="errors") == 0
