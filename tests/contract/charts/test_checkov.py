"""checkov finds nothing in what a stack applies, but for what is skipped here with a reason."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from infra.addons.kuberay import KUBERAY
from infra.config import StackConfig
from infra.policies.manifest import from_manifest
from infra.policies.pods import pods
from tests.rendering.chart import Rendered
from tests.rendering.examples import EXAMPLES
from tests.rendering.kuberay_chart import pack_kuberay
from tests.rendering.project import objects, rendered
from tools import environment

pytestmark = pytest.mark.soak  # 200 packages; policies hold the pods of the chart in CI

# Its command line asks its vendor's service for things; its runner for Kubernetes asks nobody.
SCAN = """
import json, sys
from checkov.kubernetes.runner import Runner
from checkov.runner_filter import RunnerFilter
report = Runner().run(root_folder=None, files=sys.argv[1:], runner_filter=RunnerFilter(framework=["kubernetes"]))
failed = [[c.check_id, c.resource, c.check_name] for c in report.failed_checks]
print(json.dumps([len(report.passed_checks), failed, list(report.parsing_errors)]))
"""

SKIPS = {
    "CKV_K8S_15": "the tag of a release stays; an operator that starts again must not need the registry",
    "CKV_K8S_38": "it works on the Kubernetes API, and the token is what it does that with",
    "CKV_K8S_40": "its image has a user of its own, 65532, and the manifest refuses root",
    "CKV_K8S_43": "the release of its vendor by its tag; mirror.images names another, by a digest too",
    "CKV2_K8S_6": "the namespace is the operator's own, and who owns it says what may talk there",
}
"""Check of the operator's chart -> why it is right as it is. Ours needs none."""

DIGEST = "sha256:" + "0123456789abcdef" * 4


class Finding(NamedTuple):
    check: str
    resource: str
    title: str


Scan = Callable[[Sequence[dict[str, Any]]], list[Finding]]


def with_pods(given: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The objects, and as pods what operators make of those that checkov does not know."""
    for one in given:
        yield one
        if "." in one["apiVersion"].partition("/")[0] and ".k8s.io" not in one["apiVersion"]:
            for i, pod in enumerate(pods(from_manifest(one))):
                metadata = {**one["metadata"], "name": f"{one['metadata']['name']}-{i}", "labels": pod.labels}
                yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod.spec}


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    """Runs checkov from an environment of its own over objects."""
    python = environment.locked_environment("checkov") / "bin" / "python"
    folder = tmp_path_factory.mktemp("checkov")

    def run(given: Sequence[dict[str, Any]]) -> list[Finding]:
        file = folder / "manifests.yaml"
        file.write_text(yaml.safe_dump_all(with_pods(given)))
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        done = subprocess.run(
            [str(python), "-c", SCAN, str(file)], env=environment, cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        passed, failed, unread = json.loads(done.stdout.splitlines()[-1])
        assert unread == []
        assert passed > 0
        return [Finding(*f) for f in failed]

    return run


def test_checkov_finds_nothing_in_the_chart_with_every_value(full: Rendered, scan: Scan) -> None:
    assert scan(full) == []


def test_checkov_finds_nothing_in_the_chart_with_a_digest(render: Callable[..., Rendered], scan: Scan) -> None:
    assert scan(render({"image": {"digest": DIGEST}})) == []


def test_manifests_applied_by_pulumi_pass_checkov(tmp_path: Path, scan: Scan) -> None:
    rendered(EXAMPLES[0], tmp_path)
    assert scan(objects(tmp_path / "manifests")) == []


def test_checkov_finds_only_listed_exceptions_in_the_operators_chart(
    helm: Callable[..., Any], tmp_path: Path, scan: Scan
) -> None:
    config = StackConfig()
    values = json.dumps(KUBERAY.values(config, KUBERAY.images(config)))
    chart = str(pack_kuberay(tmp_path))
    done = helm("template", "kuberay", chart, "--namespace", KUBERAY.namespace, "--values", "-", stdin=values)
    assert done.returncode == 0, done.stderr
    found = scan([o for o in yaml.safe_load_all(done.stdout) if o])
    assert [f for f in found if f.check not in SKIPS] == []
    assert SKIPS.keys() == {f.check for f in found}, "a skip that nothing needs"


def test_checkov_inspects_pods_of_a_rayservice(full: Rendered, scan: Scan) -> None:
    """Guards the guard: checkov does not know a RayService."""
    [service] = full.of("RayService")
    container = service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    kept = container["securityContext"]
    container["securityContext"] = {**kept, "privileged": True}
    try:
        assert "CKV_K8S_16" in {f.check for f in scan([service])}
    finally:
        container["securityContext"] = kept
