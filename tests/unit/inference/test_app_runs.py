from __future__ import annotations

from decimal import Decimal

import pytest

from serving.assistants.tools.tool import Toolbox
from serving.core.principal import SCOPES_OF, Principal
from serving.inference.apps.runs import MAX_DEPTH, AppRuns, require_acyclic
from serving.metering.cost import Cost
from serving.protocol.errors import ApiError
from serving.store.apps.checkpoints import Thread

ADMIN = Principal("acme", "ann", "key_1", SCOPES_OF["admin"] | {"prompt", "platform"}, "admin", frozenset(("staff",)))
THREAD, TOOLS = Thread("a", "t"), Toolbox([], 1, 1)
USAGE = {"prompt_tokens": 2, "completion_tokens": 1}


async def test_a_run_is_its_callers_with_no_more_than_an_app_may_do_and_ends() -> None:
    runs = AppRuns()
    async with runs.opened(ADMIN, "a", THREAD, TOOLS, None) as run:
        assert runs.find(run.token) is run
        assert run.token not in repr(run)
        assert run.caller.scopes == {"inference", "data:read", "data"}
        assert (run.caller.tenant, run.caller.user, run.caller.key_id) == ("acme", "ann", "key_1")
        assert not run.caller.administers
    assert runs.find(run.token) is None
    assert run.over.is_set()


async def test_usage_of_nested_runs_counts_for_the_outer_run() -> None:
    runs = AppRuns()
    async with (
        runs.opened(ADMIN, "a", THREAD, TOOLS, None) as outer,
        runs.opened(ADMIN, "b", THREAD, TOOLS, outer) as inner,
    ):
        outer.spent(USAGE, Cost(Decimal("0.5"), "USD"))
        inner.spent(USAGE, Cost(Decimal("0.25"), "USD"))
        assert outer.usage == {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}
        assert (outer.calls, inner.calls) == (2, 1)
        assert (outer.cost, inner.cost) == (Cost(Decimal("0.75"), "USD"), Cost(Decimal("0.25"), "USD"))
        inner.spent({}, Cost(Decimal(1), "EUR"))
        assert (outer.usage, outer.cost) == ({}, None), "neither is known as one number"
    async with runs.opened(ADMIN, "a", THREAD, TOOLS, None, outer) as again:
        assert again.calls == 3, "it goes on from the one before"


async def test_apps_do_not_call_themselves_nor_each_other_without_end() -> None:
    runs = AppRuns()
    require_acyclic("a", None)
    async with runs.opened(ADMIN, "a", THREAD, TOOLS, None) as run:
        require_acyclic("b", run)
        async with runs.opened(ADMIN, "b", THREAD, TOOLS, run) as inner:
            with pytest.raises(ApiError, match="a > b > a") as refused:
                require_acyclic("a", inner)
        assert refused.value.code == "app_loop"
        for n in range(MAX_DEPTH - 1):
            run = await runs.opened(ADMIN, f"c{n}", THREAD, TOOLS, run).__aenter__()
        with pytest.raises(ApiError, match=f"More than {MAX_DEPTH} apps"):
            require_acyclic("d", run)
