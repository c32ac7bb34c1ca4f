"""The rule about a stack's budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from infra.layout import CHECKOUT
from infra.nodes import prices
from infra.policies.manifest import PlannedResource
from infra.policies.nodes import nodes_of
from infra.policies.rule import stack_rule
from infra.policies.values import lookup

STACK = "headrace:kubernetes:Stack"
"""The component with the budget of its stack."""


@stack_rule(
    "budget",
    "The nodes of a stack cost no more per month than its budget.",
    "Lower `max_nodes`, use smaller machines, or spot capacity if it has a price, or raise `max_per_month` in "
    "`headrace:cost`; prices of other machines belong in the file of `headrace:cluster.prices`.",
)
def _budget(resources: Sequence[PlannedResource]) -> Iterator[tuple[PlannedResource, str]]:
    for stack in resources:
        budget, file = (lookup(stack.props, name) for name in ("maxPerMonth", "prices"))
        if stack.token != STACK or not isinstance(budget, int | float) or not isinstance(file, str):
            continue
        try:
            own = prices.load(CHECKOUT / file) if file else None
        except (OSError, ValueError) as e:
            yield stack, f"the price file cannot be read: {e}"
            continue
        total, currency = 0.0, ""
        for resource in resources:
            for nodes in nodes_of(resource, resources):
                if not isinstance(nodes.machine, str) or not isinstance(nodes.number, int | float):
                    continue
                known = own or prices.listed(nodes.cloud)
                currency = known.currency
                each = known.at_most(nodes.cloud, nodes.machine, nodes.capacity)
                if each is None:
                    yield resource, f"the price of {nodes.machine} is unknown, so no budget can be enforced"
                    continue
                total += nodes.number * each * prices.HOURS
        if total > budget:
            most = f"{total:,.2f} {currency}"
            yield stack, f"its nodes cost up to {most} per month, but its budget is {budget:,.2f}"
