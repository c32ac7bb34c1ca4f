"""Alerts keep silent about what is normal: a young stack, a new day, a stack that nobody changes."""

from __future__ import annotations

import re

import pytest

from monitoring.alerts import GROUPS
from monitoring.alerts.case import alert_case
from monitoring.groups import GROUPS as EVERY_GROUP
from monitoring.known_series import KNOWN
from monitoring.rule import Alert, Group
from tests.contract.monitoring import promtool

ALERTS = {alert.name: alert for group in GROUPS for alert in group.rules}
DAY = 1440
"""Minutes."""
COST = 'headrace_cost_total{model="large",currency="USD"}'
TENANT = 'headrace_tenant_cost_total{tenant="acme",model="large",currency="USD"}'
OTHER_MODEL = TENANT.replace("large", "small")
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
    # Today another model answers, at the cost of yesterday's.
    ("TenantCostAnomaly", MORNING, (TENANT, f"0+1x480 480x{DAY - 281}"), (OTHER_MODEL, f"0x{DAY} 0+1x200")),
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


def test_series_in_cases_have_the_labels_that_headrace_gives_them():
    """A case with others says nothing about a real stack; scraping adds some to all."""
    rules = [rule for group in EVERY_GROUP for rule in group.rules if isinstance(rule, Alert)]
    tried = {sample.series for rule in rules for case in (rule.fires, rule.silent) for sample in case.samples}
    tried |= {series for _, _, *samples in NORMAL for series, _ in samples}
    wrong = {}
    for series in tried:
        known = KNOWN[series.partition("{")[0]]
        given = set(re.findall(r'(\w+)="', series)) - {"job", "instance", "namespace"}
        if known.source == "headrace" and given != set(known.labels):
            wrong[series] = known.labels
    assert wrong == {}
    assert len(tried) > 150


def test_a_morning_that_costs_far_more_than_yesterdays_is_seen(tmp_path):
    samples = alert_case(MORNING, (COST, f"0+1x480 480x{DAY - 481} 481+5x200")).samples
    rules = [Group("alone", (ALERTS["CostAnomaly"],))]
    promtool.judge(tmp_path, rules, [promtool.count("CostAnomaly", MORNING, samples, 1, "30s")], "30s")
