"""What machines cost by the hour: list prices with their date, or a table of yours in the same form."""

from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, model_validator

from infra.gpu.machines import Cloud
from infra.gpu.pools import Capacity
from serving.config import Strict

OURS = Path(__file__).with_name("prices.yaml")

Amount = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]


class Price(Strict):
    """Of one machine, its GPUs included, by the hour."""

    cloud: Cloud
    machine: str = Field(min_length=1)
    on_demand: Amount
    spot: Amount | None = Field(default=None, description="what it cost on the table's date; clouds change it often")


class Prices(Strict):
    """A table of prices; what is not in it is not known."""

    as_of: date = Field(description="date of the oldest price")
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    source: str = Field(min_length=1)
    regions: dict[Cloud, str] = Field(default_factory=dict, description="of each cloud: where its prices hold")
    prices: tuple[Price, ...]

    @model_validator(mode="after")
    def _once(self) -> Prices:
        rows = Counter(f"{p.cloud} {p.machine}" for p in self.prices)
        if twice := [row for row, count in rows.items() if count > 1]:
            raise ValueError(f"has more than one price of {', '.join(twice)}")
        return self

    def hourly(self, cloud: Cloud, machine: str, capacity: Capacity) -> float | None:
        """Returns the price of one machine by the hour; None when it is not known.

        Reserved machines cost what those on demand do, used or not; Capacity Blocks of AWS, and what GKE queues for,
        have prices of their own that no table has.
        """
        price = next((p for p in self.prices if (p.cloud, p.machine) == (cloud, machine)), None)
        if price is None or capacity == "queued":
            return None
        return price.spot if capacity == "spot" else price.on_demand

    def said(self, cloud: Cloud) -> str:
        """When and where the prices of a cloud held, for whoever reads a sum of them."""
        region = self.regions.get(cloud)
        return f"list prices as of {self.as_of}" + (f" in {region}" if region else "")


def load(path: Path | None) -> Prices:
    """Reads a table of prices, ours by default. Raises `ValueError` that names the row, or `OSError`."""
    path = path or OURS
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Prices.model_validate(raw)
    except yaml.YAMLError as e:
        raise ValueError(f"{path}: is not YAML: {' '.join(str(e).split())}") from None
    except ValidationError as e:
        wrong = [f"{_at(raw, error['loc'])}: {error['msg']}" for error in e.errors()]
        raise ValueError(f"{path}: {'; '.join(wrong)}") from None


def _at(raw: Any, place: tuple[str | int, ...]) -> str:
    """Where a mistake is; a row also by what it is of."""
    match place:
        case ("prices", int(i), *rest):
            row = raw["prices"][i]
            of = f" ({row.get('cloud')} {row.get('machine')})" if isinstance(row, dict) else ""
            return ".".join([f"prices[{i}]{of}", *map(str, rest)])
    return ".".join(map(str, place)) or "the file"
