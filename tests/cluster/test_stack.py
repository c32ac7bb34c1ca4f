"""What `pulumi up` made on a real cluster: a cited answer, nothing left to change, objects that read well."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from tests.cluster.stack import NAMESPACE, ClusterStack
from tests.wait import eventually

Kubectl = Callable[..., str]

OURS = (
    "configmaps,cronjobs,horizontalpodautoscalers,jobs,networkpolicies,persistentvolumeclaims,poddisruptionbudgets,"
    "podmonitors,prometheusrules,rayservices,secrets,serviceaccounts"
)
RECOMMENDED = {"name", "instance", "part-of", "managed-by"}
# Made by Kubernetes or KubeRay in every namespace that they work in.
NOT_OURS = re.compile(r"kube-root-ca\.crt|default|sh\.helm\..*")


def test_up_ends_with_a_cited_answer(stack: ClusterStack) -> None:
    """The question that `up` asks by itself, of a cluster that had nothing of the stack before."""
    question = stack.printed.partition("\n> ")[2]
    assert question, stack.printed[-2000:]
    assert re.search(r"^  \[1\] \S+\.md: \S", question, re.MULTILINE), question


def test_the_ray_service_is_running(stack: ClusterStack, kubectl: Kubectl) -> None:
    def runs() -> bool:
        status = json.loads(kubectl(f"-n={NAMESPACE}", "get", "rayservice", "headrace", "-o=json"))["status"]
        conditions = {c["type"]: c["status"] for c in status["conditions"]}
        return bool(status["serviceStatus"] == "Running" and conditions["Ready"] == "True")

    eventually(runs)


def test_a_second_up_changes_nothing(stack: ClusterStack) -> None:
    printed = stack.run("up", "--yes")
    assert re.search(r"^ +\d+ unchanged", printed, re.MULTILINE), printed[-2000:]
    assert not re.search(r"[+~-]\s*\d+ (created|updated|deleted|replaced)", printed), printed[-2000:]


def test_kubectl_listings_are_readable(stack: ClusterStack, kubectl: Kubectl) -> None:
    """`kubectl get rayservice,pods`: one service, and pods whose names say what they are."""
    lines = kubectl(f"-n={NAMESPACE}", "get", "rayservice,pods", "--no-headers").splitlines()
    names = [line.split()[0] for line in lines if line.strip()]
    assert "rayservice.ray.io/headrace" in names
    pods = [name.removeprefix("pod/") for name in names if name.startswith("pod/")]
    assert len([p for p in pods if re.fullmatch(r"headrace-\w+-head-\w+", p)]) == 1
    assert len([p for p in pods if re.fullmatch(r"headrace-\w+-serving-worker-\w+", p)]) == 2
    assert len([p for p in pods if re.fullmatch(r"headrace-\w+-models-worker-\w+", p)]) == 1
    # Pods of jobs come and go.
    states = {line.split()[2] for line in lines if re.match(r"pod/headrace-\w+-(head|\w+-worker)-", line)}
    assert states <= {"Running", "Completed"}


def test_every_object_has_the_recommended_labels(stack: ClusterStack, kubectl: Kubectl) -> None:
    """As `kubectl describe` shows them, of all that is not Kubernetes' own."""
    items = json.loads(kubectl(f"-n={NAMESPACE}", "get", f"{OURS},services,pods", "-o=json"))["items"]
    ours = [item for item in items if not NOT_OURS.fullmatch(item["metadata"]["name"])]
    assert {item["kind"] for item in ours} >= {"RayService", "Pod", "NetworkPolicy", "ConfigMap", "Secret", "Job"}
    for item in ours:
        labels = item["metadata"].get("labels", {})
        lacking = {name for name in RECOMMENDED if f"app.kubernetes.io/{name}" not in labels}
        if item["kind"] == "Service" and item["metadata"]["name"].endswith("-head-svc"):
            continue  # KubeRay sets this one's labels itself, and takes no others
        assert not lacking, f"{item['kind']} {item['metadata']['name']} lacks {lacking}"


def test_a_description_shows_no_secret(stack: ClusterStack, kubectl: Kubectl) -> None:
    described = kubectl(f"-n={NAMESPACE}", "describe", f"{OURS},pods")
    assert stack.key not in described


def test_every_pod_is_restricted(stack: ClusterStack, kubectl: Kubectl) -> None:
    """The namespace enforces it; what it enforces is in force."""
    labels = json.loads(kubectl("get", "namespace", NAMESPACE, "-o=json"))["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    pods = json.loads(kubectl(f"-n={NAMESPACE}", "get", "pods", "-o=json"))["items"]
    for pod in pods:
        for container in (*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert "@sha256:" in container["image"], container["image"]


def test_gateways_run_on_different_nodes(stack: ClusterStack, kubectl: Kubectl) -> None:
    pods = json.loads(kubectl(f"-n={NAMESPACE}", "get", "pods", "-l=headrace.io/pool=serving", "-o=json"))["items"]
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 2
