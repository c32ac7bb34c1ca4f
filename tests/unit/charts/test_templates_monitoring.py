"""A Prometheus without the operator finds the targets that the operator's would, each sample once."""

from __future__ import annotations

import copy
import json
import re
import subprocess

import pytest
import yaml

from monitoring.addresses import Addresses
from monitoring.groups import RULES
from monitoring.rules_file import document
from monitoring.scope import Scope, restrict_groups
from tests.monitoring.podmonitor import scrape_configs
from tests.rendering.chart import CHART
from tools.binaries.find import ensure

FILES = CHART / "files"


@pytest.fixture
def monitor(full):
    return full.one("PodMonitor")


def test_the_rules_are_valid_for_prometheus(monitor, tmp_path):
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump({"scrape_configs": scrape_configs(monitor)}))
    result = subprocess.run([ensure(["promtool"])["promtool"], "check", "config", file], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def discovered(pods):
    """What Prometheus finds in the namespace: one target for each declared port of each container."""
    for name, pod in pods:
        labels = pod["metadata"]["labels"]
        found = {"__meta_kubernetes_namespace": "headrace", "__meta_kubernetes_pod_name": name}
        found["__meta_kubernetes_pod_phase"] = "Running"
        for key, value in labels.items():
            found[f"__meta_kubernetes_pod_label_{re.sub('[^a-zA-Z0-9_]', '_', key)}"] = value
            found[f"__meta_kubernetes_pod_labelpresent_{re.sub('[^a-zA-Z0-9_]', '_', key)}"] = "true"
        for container in (*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())):
            for port in container.get("ports", [{}]):
                yield {
                    **found,
                    "__meta_kubernetes_pod_container_name": container["name"],
                    "__meta_kubernetes_pod_container_port_name": port.get("name", ""),
                    "__address__": f"{name}:{port.get('containerPort', '')}",
                }


def relabelled(target, rules):
    """Prometheus's relabelling, as far as it is used; None when the target is dropped."""
    target = dict(target)
    for rule in rules:
        value = ";".join(target.get(s, "") for s in rule.get("source_labels", ()))
        match = re.fullmatch(rule.get("regex", "(.*)"), value)
        match rule.get("action", "replace"):
            case "keep" if not match:
                return None
            case "drop" if match:
                return None
            case "replace" if match:
                text = rule.get("replacement", "$1").replace("${1}", "$1")
                target[rule["target_label"]] = text.replace("$1", match[1] if match.re.groups else "")
    return {k: v for k, v in target.items() if not k.startswith("__meta") and not k.startswith("__tmp")}


def test_each_pod_is_scraped_once_for_each_kind_of_sample(full, monitor):
    scraped = [
        target
        for config in scrape_configs(monitor)
        for found in discovered(full.pods())
        if (target := relabelled(found, config["relabel_configs"]))
    ]
    addresses = [t["__address__"] for t in scraped]
    pods = ["head", *(f"worker {name}" for name in full.groups)]
    assert sorted(addresses) == sorted(f"{pod}:{port}" for pod in pods for port in (9464, 8080, 9101))
    assert {t["job"] for t in scraped} == {"headrace/headrace-full"}
    assert {t["endpoint"] for t in scraped} == {"exporter", "metrics", "haproxy"}
    by_pool = {t["pod"]: t.get("headrace_io_pool") for t in scraped}
    assert by_pool == {"head": None, **{f"worker {name}": name for name in full.groups}}
    assert all(t["namespace"] == "headrace" and t["container"] for t in scraped)


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_ended_pods_are_not_scraped(full, monitor, phase):
    [config, *_] = scrape_configs(monitor)
    ended = [{**found, "__meta_kubernetes_pod_phase": phase} for found in discovered(full.pods())]
    assert not any(relabelled(found, config["relabel_configs"]) for found in ended)


def test_intervals_and_namespaces_are_those_of_the_monitor(monitor):
    for i, config in enumerate(scrape_configs(monitor, kubeconfig_file="/etc/kubeconfig")):
        assert config["job_name"] == f"podMonitor/headrace/headrace-full/{i}"
        assert (config["scrape_interval"], config["scrape_timeout"]) == ("30s", "20s")
        [discovery] = config["kubernetes_sd_configs"]
        assert discovery == {
            "role": "pod",
            "namespaces": {"names": ["headrace"]},
            "kubeconfig_file": "/etc/kubeconfig",
        }


@pytest.mark.parametrize(
    ("expression", "labels", "kept"),
    [
        ({"key": "a/b", "operator": "Exists"}, {"a/b": ""}, True),
        ({"key": "a/b", "operator": "Exists"}, {}, False),
        ({"key": "a/b", "operator": "DoesNotExist"}, {"a/b": "x"}, False),
        ({"key": "a/b", "operator": "DoesNotExist"}, {}, True),
        ({"key": "a/b", "operator": "In", "values": ["x", "y"]}, {"a/b": "y"}, True),
        ({"key": "a/b", "operator": "In", "values": ["x", "y"]}, {"a/b": "z"}, False),
        ({"key": "a/b", "operator": "NotIn", "values": ["x", "y"]}, {"a/b": "y"}, False),
        ({"key": "a/b", "operator": "NotIn", "values": ["x"]}, {}, True),
    ],
)
def test_selectors_select_as_in_kubernetes(expression, labels, kept, monitor):
    monitor = copy.deepcopy(monitor)
    monitor["spec"]["selector"] = {"matchExpressions": [expression]}
    [config, *_] = scrape_configs(monitor)
    container = {"name": "exporter", "ports": [{"name": "exporter", "containerPort": 9464}]}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    [found] = discovered([("a", pod)])
    assert (relabelled(found, config["relabel_configs"]) is not None) is kept


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (("spec", "jobLabel"), "spec.jobLabel is not supported"),
        (("spec", "podMetricsEndpoints", 0, "scheme"), r"spec.podMetricsEndpoints\[0\].scheme is not supported"),
        (("spec", "selector", "other"), "spec.selector.other is not supported"),
    ],
)
def test_untranslatable_fields_are_reported(path, message, monitor):
    monitor = copy.deepcopy(monitor)
    node = monitor
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = "x"
    with pytest.raises(ValueError, match=message):
        scrape_configs(monitor)


def test_all_dashboards_and_rules_are_rendered(full):
    dashboards = {
        o["metadata"]["name"]: o["data"] for o in full.of("ConfigMap") if "-dashboard-" in o["metadata"]["name"]
    }
    files = sorted((FILES / "dashboards").glob("*.json"))
    assert len(files) >= 8
    to = Addresses("https://git.example.com/headrace/monitoring/runbooks", "https://grafana.example.com")

    def shown(file):
        return file.read_text().replace("HEADRACE_RUNBOOKS", to.runbooks).replace("HEADRACE_GRAFANA", to.grafana)

    assert dashboards == {f"headrace-full-dashboard-{file.stem}": {file.name: shown(file)} for file in files}
    rules = {o["metadata"]["name"]: o["spec"] for o in full.of("PrometheusRule")}
    files = sorted((FILES / "rules").glob("*.yaml"))
    own = Scope("headrace", "headrace||models")  # outside of a cluster there is no namespace
    made = {name: document(restrict_groups(groups, own), to) for name, groups in RULES.items()}
    mine = rules.pop("headrace-full-own-rules")["groups"][0]["rules"][0]
    assert mine == {"alert": "Own", "expr": "vector(0) == 1", "annotations": {"summary": "{{ $value }}"}}
    assert rules == {f"headrace-full-{name}": spec for name, spec in made.items()}
    assert len(files) == len(rules) == len(RULES)


def test_dashboards_have_the_label_of_grafana(full):
    found = [o for o in full.of("ConfigMap") if "-dashboard-" in o["metadata"]["name"]]
    assert {o["metadata"]["labels"]["grafana_dashboard"] for o in found} == {"1"}
    uids = [json.loads(text)["uid"] for o in found for text in o["data"].values()]
    assert len(set(uids)) == len(found)


def test_monitoring_objects_are_rendered_on_request(render):
    nothing = {"rules": {"enabled": False}, "dashboards": {"enabled": False}}
    assert not render({"monitoring": nothing}).of("PrometheusRule")
    rendered = render({"monitoring": {"rules": {"enabled": True}, "dashboards": {"enabled": True}}})
    assert len(rendered.of("PrometheusRule")) == len(list((FILES / "rules").glob("*.yaml")))
    assert len([o for o in rendered.of("ConfigMap") if "-dashboard-" in o["metadata"]["name"]]) == len(
        list((FILES / "dashboards").glob("*.json"))
    )


def test_links_have_the_addresses_of_the_values(render):
    """One pair of addresses, for alerts and for panels; without them no link leads nowhere."""
    both = {"rules": {"enabled": True}, "dashboards": {"enabled": True}}
    links = {"runbooks": "https://git.example.com/runbooks/", "grafana": "https://grafana.example.com"}

    def linked(rendered):
        rules = [r for o in rendered.of("PrometheusRule") for g in o["spec"]["groups"] for r in g["rules"]]
        annotations = [rule["annotations"] for rule in rules if "alert" in rule]
        boards = [o for o in rendered.of("ConfigMap") if "-dashboard-" in o["metadata"]["name"]]
        panels = [p for o in boards for text in o["data"].values() for p in json.loads(text)["panels"]]
        return annotations, {link["url"] for panel in panels for link in panel.get("links", ())}

    annotations, urls = linked(render({"monitoring": {**both, "links": links}}))
    assert all(a["runbook_url"].startswith("https://git.example.com/runbooks/") for a in annotations)
    assert all(a["dashboard_url"].startswith("https://grafana.example.com/d/headrace-") for a in annotations)
    assert "https://git.example.com/runbooks/GcsDown.md" in urls
    assert "https://grafana.example.com/alerting/list?search=GcsDown" in urls
    annotations, urls = linked(render({"monitoring": both}))
    assert len(annotations) > 100
    assert not any({"runbook_url", "dashboard_url"} & a.keys() for a in annotations)
    assert len(urls) > 90
    assert all(url.startswith("/alerting/list") for url in urls)


def test_a_release_fits_into_its_secret(helm, tmp_path):
    """Helm keeps the whole chart in a Secret, which holds a mebibyte."""
    result = helm("package", str(CHART), "--destination", str(tmp_path))
    assert result.returncode == 0, result.stderr
    [packed] = tmp_path.glob("*.tgz")
    assert packed.stat().st_size < 300_000
