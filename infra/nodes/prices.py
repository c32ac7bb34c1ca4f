"""Hourly prices of machines: dated list prices, or your own table in the same format."""

from __future__ import annotations

from collections import Counter
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, model_validator

from infra.nodes.machines import Cloud
from infra.nodes.pools import Capacity
from serving.config import Strict

LISTED = Path(__file__).parents[1] / "targets"
"""Folder of the clouds' folders, each with a `prices.yaml`."""

HOURS = 730
"""Hours of a month."""

Amount = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]


class Price(Strict):
    """Hourly price of one machine, including its GPUs."""

    cloud: Cloud
    machine: str = Field(min_length=1)
    on_demand: Amount
    spot: Amount | None = Field(default=None, description="spot price on the table's date; clouds change it often")


class PriceTable(Strict):
    """A table of prices; the prices of other machines are unknown."""

    as_of: date = Field(description="date of the oldest price")
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    source: str = Field(min_length=1)
    regions: dict[Cloud, str] = Field(default_factory=dict, description="region of each cloud's prices")
    prices: tuple[Price, ...]

    @model_validator(mode="after")
    def _check_unique(self) -> PriceTable:
        rows = Counter(f"{p.cloud} {p.machine}" for p in self.prices)
        if twice := [row for row, count in rows.items() if count > 1]:
            raise ValueError(f"has more than one price for {', '.join(twice)}")
        return self

    def hourly(self, cloud: Cloud, machine: str, capacity: Capacity) -> float | None:
        """Returns the hourly price of one machine; None if it is unknown.

        Reserved machines cost as much as on-demand ones, used or not. AWS Capacity Blocks and queued capacity of GKE
        have their own prices, which are not in the table.
        """
        price = next((p for p in self.prices if (p.cloud, p.machine) == (cloud, machine)), None)
        if price is None or capacity == "queued":
            return None
        return price.spot if capacity == "spot" else price.on_demand

    def at_most(self, cloud: Cloud, machine: str, capacity: Capacity) -> float | None:
        """Returns the most that one machine costs per hour, for a budget; None if that is unknown.

        Spot and queued machines without a price in the table cost no more than on-demand ones.
        """
        found = self.hourly(cloud, machine, capacity)
        return self.hourly(cloud, machine, "on_demand") if found is None else found

    def provenance(self, cloud: Cloud) -> str:
        """Returns date and region of a cloud's prices, as text."""
        region = self.regions.get(cloud)
        return f"list prices as of {self.as_of}" + (f" in {region}" if region else "")


@cache
def listed(cloud: Cloud) -> PriceTable:
    """Returns the list prices of a cloud."""
    return load(LISTED / cloud / "prices.yaml")


def load(path: Path) -> PriceTable:
    """Reads a price table. Raises `OSError`, or `ValueError` naming the row."""
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
        return PriceTable.model_validate(raw)
    except yaml.YAMLError as e:
        raise ValueError(f"{path}: not YAML: {' '.join(str(e).split())}") from None
    except ValidationError as e:
        wrong = [f"{_location(raw, error['loc'])}: {error['msg']}" for error in e.errors()]
        raise ValueError(f"{path}: {'; '.join(wrong)}") from None


def _location(raw: Any, place: tuple[str | int, ...]) -> str:
    """Formats the place of an error; a row also by its machine."""
    match place:
        case ("prices", int(i), *rest):
            row = raw["prices"][i]
            of = f" ({row.get('cloud')} {row.get('machine')})" if isinstance(row, dict) else ""
            return ".".join([f"prices[{i}]{of}", *map(str, rest)])
    return ".".join(map(str, place)) or "the file"
