"""Prices by the hour, and tables of them that make no sense."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from infra.nodes.machines import CLOUDS, Cloud, default_machine_type, machine_type, machine_types
from infra.nodes.prices import listed, load

YOURS = """
as_of: 2026-11-01
currency: EUR
source: our contract
prices:
  - {cloud: aws, machine: m7i.xlarge, on_demand: 0.2}
  - {cloud: aws, machine: g6.xlarge, on_demand: 0.9, spot: 0.4}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "prices.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("cloud", CLOUDS)
def test_list_prices_are_of_known_machines(cloud: Cloud) -> None:
    prices = listed(cloud)
    assert [p for p in prices.prices if p.cloud != cloud or not machine_type(cloud, p.machine)] == []
    assert all(p.spot is None or 0 < p.spot < p.on_demand for p in prices.prices)
    assert prices.hourly(cloud, default_machine_type(cloud), "on_demand")
    assert set(prices.regions) == {cloud}
    assert prices.currency == "USD", "a policy adds them up"


@pytest.mark.parametrize("cloud", CLOUDS)
def test_more_of_a_family_costs_more(cloud: Cloud) -> None:
    prices = listed(cloud)
    priced = [(m, p) for m in machine_types(cloud) if (p := prices.hourly(m.cloud, m.name, "on_demand"))]
    for m, price in priced:
        family = m.name.partition(".")[0] if m.cloud == "aws" else m.name.rpartition("-")[0]
        for other, more in priced:
            same = m.cloud == other.cloud != "azure" and other.name.startswith((f"{family}.", f"{family}-"))
            if same and other.vcpus > m.vcpus and other.gpus >= m.gpus:
                assert more > price, f"{other.name} and {m.name}"


def test_unlisted_prices_are_unknown(tmp_path: Path) -> None:
    prices = load(written(tmp_path, YOURS))
    assert prices.hourly("aws", "g6.xlarge", "on_demand") == 0.9
    assert prices.hourly("aws", "g6.xlarge", "spot") == 0.4
    assert prices.hourly("aws", "g6.xlarge", "reserved") == 0.9
    assert prices.hourly("aws", "g6.xlarge", "queued") is None
    assert prices.hourly("aws", "m7i.xlarge", "spot") is None
    assert prices.hourly("aws", "g6.2xlarge", "on_demand") is None
    assert prices.hourly("gcp", "g6.xlarge", "on_demand") is None


def test_prices_have_a_date_and_a_region(tmp_path: Path) -> None:
    assert load(written(tmp_path, YOURS)).provenance("aws") == "list prices as of 2026-11-01"
    assert listed("aws").as_of > date(2025, 6, 5)  # when it made P4 and P5 cheaper
    ours = listed("gcp")
    assert ours.provenance("gcp") == f"list prices as of {ours.as_of} in us-central1"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0.9", "-1", "prices[1] (aws g6.xlarge).on_demand: Input should be greater than or equal to 0"),
        ("0.9", ".nan", "prices[1] (aws g6.xlarge).on_demand: Input should be a finite number"),
        ("0.9", "yes", "prices[1] (aws g6.xlarge).on_demand: Input should be a valid number"),
        ("spot", "spott", "prices[1] (aws g6.xlarge).spott: Extra inputs are not permitted"),
        (" on_demand: 0.9,", "", "prices[1] (aws g6.xlarge).on_demand: Field required"),
        (
            "aws, machine: g6",
            "ali, machine: g6",
            "prices[1] (ali g6.xlarge).cloud: Input should be 'aws', 'gcp' or 'azure'",
        ),
        ("{cloud: aws, machine: m7i.xlarge, on_demand: 0.2}", "0.2", "prices[0]: Input should be"),
        ("m7i", "g6", "the file: Value error, has more than one price for aws g6.xlarge"),
        ("as_of: 2026-11-01", "", "as_of: Field required"),
        ("2026-11-01", "soon", "as_of: Input should be a valid date"),
        ("EUR", "euros", "currency: String should match pattern"),
        ("currency", "valuta", "currency: Field required; valuta: Extra inputs are not permitted"),
        ("{cloud", "[cloud", "not YAML"),
        (YOURS, "", "the file: Input should be a valid dictionary"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = written(tmp_path, YOURS.replace(old, new))
    with pytest.raises(ValueError, match=re.escape(said)) as e:
        load(path)
    assert str(e.value).startswith(str(path))
    assert "\n" not in str(e.value)
