"""The policy pack over mocked plans of every example."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.policies.catalogue import evaluate
from infra.policies.manifest import PlannedResource
from infra.policies.values import SecretValue
from tests.rendering.examples import EXAMPLES, KUBECONFIG, MADE, settings
from tests.unit.policies.engine import from_engine


def resources(planned: Any) -> Iterator[PlannedResource]:
    for one in planned.resources.values():
        read = from_engine(one.token, one.name, one.inputs, urn=one.urn)
        secrets = {key: SecretValue(value) for key, value in one.secrets.items()}
        yield PlannedResource(one.token, one.name, {**read.props, **secrets}, one.urn, marks_secrets=True)


@pytest.mark.parametrize("preview", [True, False], ids=["preview", "up"])
@pytest.mark.parametrize("example", [*EXAMPLES, *MADE], ids=lambda p: p.stem.removeprefix("Pulumi."))
def test_an_example_breaks_no_rule(example: Path, preview: bool, plan: Callable[..., Any], tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(KUBECONFIG))
    planned = plan(settings(example, kubeconfig), preview=preview, stack="example")
    found = evaluate(resources(planned))
    assert [str(v) for v in found if v.rule.level == "mandatory" and not v.exception] == []


def test_a_fault_in_a_plan_is_found(plan: Callable[..., Any], tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(KUBECONFIG))
    every = list(resources(plan(settings(EXAMPLES[0], kubeconfig), stack="example")))
    [index] = [i for i, r in enumerate(every) if r.is_a("", "Secret") and r.name == "headrace-secrets"]
    every[index] = PlannedResource(every[index].token, "s", {"stringData": {"api-key": "hr_x"}}, marks_secrets=True)
    assert {v.rule.name for v in evaluate(every) if not v.exception} == {"secret-data-is-secret"}
