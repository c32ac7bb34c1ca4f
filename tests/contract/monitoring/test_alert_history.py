"""Alerts keep silent about what is normal: a young stack, a new day, a stack that nobody changes."""

from __future__ import annotations

import pytest

from monitoring.alerts import GROUPS
from monitoring.alerts.case import alert_case
from monitoring.rule import Group
from tests.contract.monitoring import promtool

ALERTS = {alert.name: alert for group in GROUPS for alert in group.rules}
DAY = 1440
"""Minutes."""
COST = 'headrace_cost_total{model="large",currency="USD"}'
TENANT = 'headrace_tenant_cost_total{tenant="acme",currency="USD"}'
BUSY = f"0+1x480 480x{DAY - 481} 481+1x200"
"""Two working days: eight hours at one unit a minute, a night, and the next morning."""
MORNING = f"{DAY + 45}m"
NORMAL = (
    # It writes its first files, with most of a small disk in use before, and then stands still.
    ("DataDiskFilling", "50m", ("headrace_disk_free_bytes", "20000-40x60"), ("headrace_disk_size_bytes", "100000x60")),
    (
        "DataDiskFilling",
        "150m",
        ("headrace_disk_free_bytes", "20000-40x60 17600x120"),
        ("headrace_disk_size_bytes", "100000x180"),
    ),
    ("CostAnomaly", MORNING, (COST, BUSY)),
    ("TenantCostAnomaly", MORNING, (TENANT, BUSY)),
    ("IndexStale", "3h", ('headrace_index_age_seconds{collection="docs"}', "9999999+60x200")),
    (
        "NodeMemoryFull",
        "30m",
        ('ray_node_mem_used{ip="127.0.0.1"}', "92x60"),
        ('ray_node_mem_total{ip="127.0.0.1"}', "100x60"),
    ),
)


@pytest.mark.parametrize(("name", "after", "samples"), [(n, a, s) for n, a, *s in NORMAL])
def test_nothing_fires_about_what_is_normal(tmp_path, name, after, samples):
    rules = [Group("alone", (ALERTS[name],))]
    case = alert_case(after, *samples)
    promtool.judge(tmp_path, rules, [promtool.count(name, case.after, case.samples, 0, "30s")], "30s")


def test_a_morning_that_costs_far_more_than_yesterdays_is_seen(tmp_path):
    samples = alert_case(MORNING, (COST, f"0+1x480 480x{DAY - 481} 481+5x200")).samples
    rules = [Group("alone", (ALERTS["CostAnomaly"],))]
    promtool.judge(tmp_path, rules, [promtool.count("CostAnomaly", MORNING, samples, 1, "30s")], "30s")
