"""The chart's monitoring objects on a real cluster: what they select, and what Prometheus then answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest

from monitoring.dashboards import DASHBOARDS
from monitoring.groups import GROUPS
from tests.cluster.prometheus import found
from tests.cluster.stack import NAMESPACE, ClusterStack
from tests.stacks.monitored import ask, compared, finite, lacking, panels, recorded
from tests.wait import eventually, last

Kubectl = Callable[..., str]

ENDPOINTS = {"exporter", "metrics", "haproxy"}
"""Ports of containers that serve metrics."""

PAST = timedelta(hours=1)
"""More than all tests before."""


def answer(stack: ClusterStack, what: str) -> dict:
    return dict(httpx.get(f"{stack.prometheus_url}/api/v1/{what}", timeout=30).raise_for_status().json()["data"])


def test_the_pod_monitor_selects_all_ports_with_metrics(stack: ClusterStack) -> None:
    """Each port of each pod that serves metrics, and nothing else in the namespace."""
    serving = {
        (pod["metadata"]["name"], port["name"])
        for pod in found(NAMESPACE, "pods")
        if pod["status"]["phase"] not in ("Succeeded", "Failed")
        for container in (*pod["spec"]["containers"], *pod["spec"].get("initContainers", ()))
        for port in container.get("ports", ())
        if port.get("name") in ENDPOINTS
    }
    assert {port for _, port in serving} == ENDPOINTS

    def selected() -> set[tuple[str, str]]:
        targets = answer(stack, "targets?state=active")["activeTargets"]
        return {(target["labels"]["pod"], target["labels"]["endpoint"]) for target in targets}

    eventually(lambda: selected() == serving, f"targets {selected() ^ serving} are as the pods")


@pytest.mark.looks_back
def test_every_rule_is_evaluated(stack: ClusterStack) -> None:
    def rules() -> list[dict]:
        return [rule for group in answer(stack, "rules")["groups"] for rule in group["rules"]]

    loaded = {(group["name"], len(group["rules"])) for group in answer(stack, "rules")["groups"]}
    assert loaded == {(group.name, len(group.rules)) for group in GROUPS}

    def ill() -> list[tuple[str, object]]:
        return [(rule["name"], rule.get("lastError")) for rule in rules() if rule["health"] != "ok"]

    # Each group has its first round, and one evaluation of many may fail while a target comes.
    assert last(ill, lambda ill: not ill, 150) == []


def test_dashboards_are_in_labelled_config_maps(stack: ClusterStack, kubectl: Kubectl) -> None:
    """Grafana's sidecar loads each key of the ConfigMaps that have the label."""
    items = json.loads(kubectl("get", "configmaps", "-A", "-l=grafana_dashboard=1", "-o=json"))["items"]
    laid = {file: json.loads(text) for item in items for file, text in item["data"].items()}
    assert {item["metadata"]["namespace"] for item in items} == {NAMESPACE}
    assert {(file, dashboard["uid"]) for file, dashboard in laid.items()} == {
        (f"{dashboard.name}.json", f"headrace-{dashboard.name}") for dashboard in DASHBOARDS
    }


@pytest.mark.looks_back
def test_every_query_of_the_monitoring_has_data(stack: ClusterStack) -> None:
    """Queries of panels, alerts and recording rules have data from the traffic of the tests, without errors."""
    left = {question.expression: question.asker for question in (*panels(), *compared(), *recorded())}

    def unanswered() -> list[str]:
        for expression in list(left):
            answer = ask(stack.prometheus_url, expression, over_s=PAST.total_seconds(), step_s=60)
            if lacking(expression, "cluster") or finite(answer):
                del left[expression]
        return [f"{asker}: {expression}" for expression, asker in left.items()]

    # What compares minutes with each other needs that many since Prometheus came up.
    assert last(unanswered, lambda found: not found, 240) == []
