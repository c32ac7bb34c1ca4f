"""Helm takes the chart: it lints, packs and renders, the same each time, and no line of it is there for nothing."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import tarfile
import tomllib
from collections.abc import Iterator
from importlib import metadata
from itertools import takewhile
from pathlib import Path

import pytest
import yaml

from infra.versions import KUBERNETES_AT_LEAST
from tests.rendering.chart import CHART, FULL
from tests.rendering.chart_values import HERE, REFUSED_BY_TEMPLATES, VARIANTS

META = yaml.load((CHART / "Chart.yaml").read_text(), yaml.CSafeLoader)
BRANCH = re.compile(r"\{\{-?\s*(?:if|else|range|with)\b[^}]*(?:\}(?!\})[^}]*)*\}\}")
"""An action that opens a branch of a template."""

IN_NOTES = (
    "default",
    "everything exists",
    "image by digest",
    "ingress",
    "no network policies, no migration",
    "route of a Gateway that is there",
    "secrets of a store",
    "sqlite",
)
"""Values that the notes differ by."""

AT = re.compile(r'message="was at (\S+:\d+\+\d+)"$')


@pytest.mark.parametrize("files", [[], ["--values", str(FULL)]], ids=["default", "full"])
def test_helm_lint_passes(files, helm):
    result = helm("lint", "--strict", str(CHART), *files)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "[WARNING]" not in result.stdout
    assert "[ERROR]" not in result.stdout


def test_versions_match_the_project():
    assert META["appVersion"] == META["version"] == _project()["version"]
    assert META["kubeVersion"] == ">={}.{}.0-0".format(*KUBERNETES_AT_LEAST)
    assert yaml.load((CHART / "values.yaml").read_text(), yaml.CSafeLoader)["rayVersion"] == metadata.version("ray")


def _project() -> dict[str, str]:
    return tomllib.loads((CHART.parents[1] / "pyproject.toml").read_text())["project"]


def test_an_older_kubernetes_is_refused(helm):
    result = helm("template", "headrace", str(CHART), "--kube-version", "1.33.6")
    assert result.returncode
    assert "1.34.0" in result.stderr


def test_the_package_contains_required_files_only(helm, tmp_path):
    result = helm("package", str(CHART), "--destination", str(tmp_path))
    assert result.returncode == 0, result.stderr
    [archive] = tmp_path.iterdir()
    assert archive.name == f"headrace-{META['version']}.tgz"
    with tarfile.open(archive) as tar:
        names = {n.removeprefix("headrace/") for n in tar.getnames()}
        tar.extractall(tmp_path, filter="data")
    kept = {".helmignore", "Chart.yaml", "values.yaml", "values.schema.json"}
    assert {n for n in names if not n.startswith(("templates/", "files/"))} == kept
    packed, folder = (
        helm("template", "headrace", str(c), "--values", str(FULL), "--set", "secrets.existingSecret=s").stdout
        for c in (tmp_path / "headrace", CHART)
    )
    assert packed == folder != ""


def test_rendering_is_deterministic(render):
    values = {"secrets": {"existingSecret": "mine"}}
    assert render(values, full=True) == render(values, full=True)


def test_a_new_chart_version_alone_restarts_no_pod(helm, render, tmp_path):
    values = {"secrets": {"existingSecret": "mine"}, "image": {"tag": "1"}}
    copy = shutil.copytree(CHART, tmp_path / "headrace")
    (copy / "Chart.yaml").write_text(
        (CHART / "Chart.yaml").read_text().replace(f"version: {META['version']}\nappV", "version: 9.9.9\nappV")
    )
    result = helm("template", "headrace", str(copy), "-n", "headrace", "--values", "-", stdin=json.dumps(values))
    other = [o for o in yaml.load_all(result.stdout, yaml.CSafeLoader) if o]
    assert "headrace-9.9.9" in result.stdout
    [service] = [o for o in other if o["kind"] == "RayService"]
    before = render(values)
    assert service["spec"]["rayClusterConfig"] == before.cluster
    jobs = [o["metadata"]["name"] for o in other if o["kind"] == "Job"]
    assert jobs == [o["metadata"]["name"] for o in before.of("Job")]


def test_the_revision_is_that_of_the_pods(render):
    """An upgrade in place ends a Ray cluster of another revision: numbers of pods and the application are not in it."""

    def revision(**values):
        scaled = {"autoscaling": {"enabled": True}, "networkPolicy": {"apiServer": {"to": HERE}}}
        service = render({**scaled, "secrets": {"existingSecret": "mine"}, **values}).one("RayService")
        return service["metadata"]["annotations"]["headrace.io/revision"]

    one = revision(pools={"serving": {"replicas": 1, "minReplicas": 1, "maxReplicas": 4}})
    same = [
        revision(pools={"serving": {"replicas": 3, "minReplicas": 1, "maxReplicas": 5}}),
        revision(pools={"serving": {"minReplicas": 1}}, serving={"limits": {"in_flight": 7}}),
        revision(pools={"serving": {"minReplicas": 1}}, upgradeStrategy="None"),
    ]
    assert same == [one] * 3
    assert revision(pools={"serving": {"minReplicas": 1, "env": {"A": "b"}}}) != one


def test_other_work_is_another_job(render):
    """A Job cannot be changed: other documents, another program or another database are a Job of another name."""
    docs = {"name": "docs", "files": {"a.md": base64.b64encode(b"a").decode()}}
    base = {"knowledge": [docs], "secrets": {"existingSecret": "mine"}}

    def names(values):
        return {o["metadata"]["name"] for o in render({**base, **values}).of("Job")}

    first = names({})
    assert names({}) == first
    assert len(first - names({"image": {"tag": "2"}})) == 2
    assert len(first - names({"knowledge": [{**docs, "files": {"a.md": base64.b64encode(b"b").decode()}}]})) == 1
    assert len(first - names({"knowledge": [{**docs, "revision": "2"}]})) == 1
    assert len(first - names({"serving": {"store": {"database": "postgresql://u@other/h"}}})) == 1
    assert names({"catalog": {"assistants": [{"name": "a", "model": "smollm2"}]}}) == first


@pytest.mark.parametrize("name", IN_NOTES)
def test_notes_refer_to_existing_objects(name, helm):
    values = VARIANTS[name]
    arguments = ("install", "headrace", str(CHART), "-n", "headrace", "--dry-run=client", "--values", "-")
    result = helm(*arguments, stdin=json.dumps(values))
    assert result.returncode == 0, result.stderr
    notes = result.stdout.partition("\nNOTES:\n")[2]
    assert "kubectl get rayservice headrace -n headrace" in notes
    assert f"secret {values.get('secrets', {}).get('existingSecret', 'headrace')} " in notes
    assert "\n\n\n" not in notes
    assert "<no value>" not in notes
    where = "https://a.example.com" if {"ingress", "httpRoute"} & values.keys() else "http://127.0.0.1:8000"
    assert f"curl {where}/v1/models" in notes


def test_scripts_have_valid_syntax():
    for script in (CHART / "files").glob("*.sh"):
        assert subprocess.run(["bash", "-n", str(script)]).returncode == 0


def _with_monitoring(folder: Path) -> Path:
    """A copy of the chart with a rule and a dashboard, in the places that they have."""
    copy = shutil.copytree(CHART, folder / "headrace")
    rules = {"groups": [{"name": "a", "rules": [{"record": "a:b", "expr": 'sum(up{job="{{ $labels.job }}"})'}]}]}
    for name, content in (("rules/sample.yaml", rules), ("dashboards/sample.json", {"title": "{{ sample }}"})):
        (copy / "files" / name).parent.mkdir(exist_ok=True)
        (copy / "files" / name).write_text(json.dumps(content))
    return copy


def test_rules_and_dashboards_have_their_places(helm, tmp_path):
    """As they stand in their files: braces of Prometheus and Grafana are no template."""
    result = helm("template", "headrace", str(_with_monitoring(tmp_path)), "-n", "headrace", "--values", str(FULL))
    objects = {(o["kind"], o["metadata"]["name"]): o for o in yaml.load_all(result.stdout, yaml.CSafeLoader) if o}
    rule = objects["PrometheusRule", "headrace-full-sample"]
    assert rule["spec"]["groups"][0]["rules"][0]["expr"] == 'sum(up{job="{{ $labels.job }}"})'
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    dashboard = objects["ConfigMap", "headrace-full-dashboard-sample"]
    assert json.loads(dashboard["data"]["sample.json"]) == {"title": "{{ sample }}"}
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert dashboard["metadata"]["annotations"]["grafana_folder"] == "Headrace"


@pytest.mark.parametrize(("api", "there"), [("monitoring.coreos.com/v1/PodMonitor", True), ("other/v1/Kind", False)])
def test_objects_of_unknown_kinds_are_omitted(api, there, render):
    assert bool(render({}, "--api-versions", api).of("PodMonitor")) is there


def test_every_branch_of_a_template_is_rendered(helm, tmp_path):
    """Every branch of every template is run into by values of these tests."""
    copy = _with_monitoring(tmp_path)
    left = set()
    for file in sorted((copy / "templates").iterdir()):
        text = file.read_text()
        for at, line in sorted(_branches(text), reverse=True):
            # Of the space that follows, as much is trimmed as without it.
            dash = "-" if text[:at].endswith("-}}") else ""
            text = f'{text[:at]}{{{{ fail "was at {file.name}:{line}" {dash}}}}}{text[at:]}'
            left.add(f"{file.name}:{line}")
        file.write_text(text)
    assert len(left) > 150
    full = yaml.load(FULL.read_text(), yaml.CSafeLoader)
    named = {"nameOverride": "test"}  # which is in the name that Helm lints by, test-release
    for values in (full, named, *VARIANTS.values(), *(v for v, _ in REFUSED_BY_TEMPLATES.values())):
        left -= _run_into(helm, copy, values)
    assert sorted(left) == []


def _run_into(helm, chart: Path, values) -> set[str]:
    """Returns the branches that an installation gets to, with values that the schema allows.

    A chart that is linted logs what `fail` says and goes on, so one rendering tells all of them; where the chart's own
    `fail` or `required` speaks, an installation ends.
    """
    arguments = ("--skip-schema-validation", "-n", "headrace", "--values", "-")
    result = helm("lint", str(chart), *arguments, stdin=json.dumps(values))
    assert result.returncode == 0, result.stdout
    said = (AT.search(line) for line in result.stderr.splitlines())
    return {at[1] for at in takewhile(bool, said) if at}


def _branches(text: str) -> Iterator[tuple[int, str]]:
    """Where each branch begins: (offset, line, and the column when there are more in it)."""
    without = re.sub(r"\{\{-?\s*/\*.*?\*/\s*-?\}\}", lambda m: " " * len(m[0]), text, flags=re.S)
    for found in BRANCH.finditer(without):
        line = without.count("\n", 0, found.start()) + 1
        yield found.end(), f"{line}+{found.start() - without.rfind(chr(10), 0, found.start())}"
