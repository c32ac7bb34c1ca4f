"""The table that says what nodes cost and whether models fit them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.cloud_config import Cost
from infra.config import StackConfig
from infra.gpu import cost
from infra.layout import CHECKOUT
from serving.config import VllmModel
from tests.unit.gpu.test_placement import L4, config

PRICES = """
as_of: 2026-01-31
currency: USD
source: a test
prices:
  - {cloud: aws, machine: m7i.xlarge, on_demand: 0.25}
  - {cloud: aws, machine: g6.xlarge, on_demand: 1.0, spot: 0.5}
"""


def priced(settings: StackConfig, prices: Path) -> StackConfig:
    return settings.model_copy(update={"cluster": settings.cluster.model_copy(update={"prices": str(prices)})})


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    file = tmp_path / "prices.yaml"
    file.write_text(PRICES)
    return file


def table(prices: Path, *nodes: dict[str, Any], **settings: Any) -> list[str]:
    return cost.table(priced(config(*nodes, **settings), prices)).splitlines()


def test_a_row_for_each_pool_and_a_sum(prices: Path) -> None:
    scaled = {**L4, "min_nodes": 1, "max_nodes": 4}
    lines = table(prices, scaled)
    assert lines[1].split() == ["cpu", "m7i.xlarge", "1", "on", "demand", "-", "-", "0.25"]
    assert lines[2].split() == ["l4", "g6.xlarge", "1-4", "on", "demand", "1", "x", "l4", "22.5", "GiB", "1.00-4.00"]
    assert lines[3].startswith("Total: 1.25-4.25 USD per hour, 912.50-3,102.50 per month (")
    assert "2026-01-31" in lines[3]


def test_spot_has_its_own_price(prices: Path) -> None:
    assert table(prices, {**L4, "capacity": "spot"})[2].endswith("0.50")


def test_unknown_prices_are_reported(prices: Path) -> None:
    lines = table(prices, {"name": "big", "accelerator": "h100-80gb", "gpus": 8})
    assert lines[2].endswith("?")
    assert "Total: 0.25 USD" in lines[3]
    assert "without big, whose price is unknown" in lines[3]


def test_models_are_counted_against_their_nodes(prices: Path) -> None:
    settings = priced(config(L4, pods=[{"name": "gpu", "gpus": 1, "node_pool": "l4"}]), prices)
    model = {
        "engine": "vllm",
        "name": "seven",
        "source": "hf://org/seven",
        "pool": "gpu",
        "context": 8192,
        "geometry": {"parameters": 7_000_000_000, "layers": 32, "kv_heads": 8, "head_dim": 128},
    }
    lines = cost.table(settings.model_copy(update={"models": (VllmModel.model_validate(model),)})).splitlines()
    at = lines.index("Model seven on l4:")
    assert "7,000,000,000 parameters x 2 B" in lines[at + 1]
    assert lines[-1].startswith("  fits, with room for")


@pytest.mark.parametrize("content", ["", "as_of: never\n", "{"])
def test_prices_of_yours_that_cannot_be_read(content: str, tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(content)
    [mistake] = cost.mistakes(priced(config(), file))
    assert mistake.key == "cluster.prices"
    assert "infra/targets/aws/prices.yaml" in mistake.fix


def test_missing_price_files_are_reported(tmp_path: Path) -> None:
    [mistake] = cost.mistakes(priced(config(), tmp_path / "none.yaml"))
    assert "none.yaml" in mistake.problem


def test_the_tables_own_prices_are_used_without_others() -> None:
    assert (CHECKOUT / "infra/targets/aws/prices.yaml").exists()
    assert cost.table(config(L4)).splitlines()[2].split()[-1] != "?"


def test_azures_own_nodes_cost_too() -> None:
    lines = cost.table(config(target="azure")).splitlines()
    assert lines[1].split() == ["system", "Standard_D4s_v5", "2", "on", "demand", "-", "-", "0.38"]
    assert lines[3].startswith("Total: 0.58 USD per hour, 420.48 per month")
    assert "system" not in cost.table(config(target="gcp"))


def within(settings: StackConfig, limit: float) -> StackConfig:
    return settings.model_copy(update={"cost": Cost(max_per_month=limit)})


def budgeted(prices: Path, limit: float, *nodes: dict[str, Any]) -> StackConfig:
    return within(priced(config(*nodes), prices), limit)


SCALED = {**L4, "min_nodes": 1, "max_nodes": 4}


@pytest.mark.parametrize(
    ("node", "most"),
    [
        (SCALED, 3102.50),  # (0.25 + 4 x 1.00) x 730
        ({**SCALED, "capacity": "spot"}, 1642.50),
        (
            {**SCALED, "capacity": "reserved", "reservation": "cr-01234567", "zones": ["eu-central-1a"]},
            3102.50,
        ),
    ],
    ids=["on demand", "spot", "reserved"],
)
def test_a_budget_holds_the_nodes_at_their_most(node: dict[str, Any], most: float, prices: Path) -> None:
    fits = budgeted(prices, most, node)
    assert cost.over_budget(fits) == []
    assert f"Budget: up to {most:,.2f} of {most:,.2f} USD per month." in cost.table(fits).splitlines()
    [mistake] = cost.over_budget(budgeted(prices, most - 0.01, node))
    assert mistake.key == "cost.max_per_month"
    assert f"the nodes cost up to {most:,.2f} per month: cpu 182.50, l4 {most - 182.5:,.2f}" in mistake.problem


def test_spot_without_a_price_costs_as_much_as_on_demand(prices: Path) -> None:
    prices.write_text(PRICES.replace(", spot: 0.5", ""))
    spot = {**SCALED, "capacity": "spot"}
    assert cost.over_budget(budgeted(prices, 3102.50, spot)) == []
    assert cost.over_budget(budgeted(prices, 3102, spot))


def test_a_budget_that_cannot_be_held(prices: Path) -> None:
    [unknown] = cost.over_budget(budgeted(prices, 1_000_000, {"name": "big", "accelerator": "h100-80gb", "gpus": 8}))
    assert "the price of big is unknown" in unknown.problem
    assert "headrace:cluster.prices" in unknown.fix
    autopilot = StackConfig.model_validate(
        {"target": "gcp", "gcp": {"autopilot": True}, "cost": {"max_per_month": 1}, "image": {"tag": "1"}}
    )
    [hidden] = cost.over_budget(autopilot)
    assert "in Autopilot Google creates the nodes" in hidden.problem


def test_without_a_budget_any_amount_may_be_spent(prices: Path) -> None:
    assert cost.over_budget(priced(config(SCALED), prices)) == []
    assert not any(line.startswith("Budget") for line in table(prices, SCALED))


def test_azures_own_nodes_are_part_of_the_budget() -> None:
    assert cost.over_budget(within(config(target="azure"), 420.48)) == []
    [mistake] = cost.over_budget(within(config(target="azure"), 420.47))
    assert "system 280.32, cpu 140.16" in mistake.problem
