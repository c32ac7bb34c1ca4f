"""For each rule what it must let pass and what it must find, each as a small change of a stack without fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from infra.policies.manifest import PlannedResource, from_manifest
from infra.policies.values import UNKNOWN
from tests.unit.policies.engine import from_engine
from tests.unit.policies.whole import (
    CONTAINER,
    DIGEST,
    GPU_CONTAINER,
    IMAGE,
    LABELS,
    POD,
    RAY_SERVICE,
    REMOVED,
    SERVE,
    changed,
    edited,
    thing,
    whole,
    with_more,
)

C = "spec/template/spec/containers/0"
P = "spec/template/spec"
CONTEXT = f"{C}/securityContext"
HEAD = "spec/rayClusterConfig/headGroupSpec"
WORKER = "spec/rayClusterConfig/workerGroupSpecs/0"
GPU = "spec/rayClusterConfig/workerGroupSpecs/1/template/spec"
RAY_C = "template/spec/containers/0"
CRON = "spec/jobTemplate/spec"


@dataclass(frozen=True)
class Case:
    rule: str
    resources: list[PlannedResource]
    finding: str = ""
    """Part of the message; empty when the rule must let it pass."""
    also: tuple[str, ...] = ()
    """Other rules that the same change breaks."""

    def __str__(self) -> str:
        return f"{self.rule}-{self.finding or 'passes'}".replace(" ", "-")[:80]


def of(documents: list[dict[str, Any]]) -> list[PlannedResource]:
    return [from_manifest(d) for d in documents]


def passes(rule: str, part: str, path: str, value: Any) -> Case:
    return Case(rule, of(changed(part, path, value)))


def fails(rule: str, part: str, path: str, value: Any, finding: str, *also: str) -> Case:
    return Case(rule, of(changed(part, path, value)), finding, also)


def added(rule: str, finding: str, *objects: dict[str, Any], also: tuple[str, ...] = ()) -> Case:
    return Case(rule, of(with_more(*objects)), finding, also)


def engine(rule: str, finding: str, token: str, props: dict[str, Any], provider: str = "cluster") -> Case:
    """The stack with one more resource as Pulumi's engine describes it."""
    return Case(rule, [*of(whole()), from_engine(token, "more", props, provider=provider)], finding)


def budget(finding: str, limit: Any, *nodes: tuple[str, str, dict[str, Any]], prices: Any = "") -> Case:
    """A stack with a budget, and what creates nodes: type, name and properties."""
    stack = ("headrace:kubernetes:Stack", "kubernetes", {"maxPerMonth": limit, "prices": prices})
    return Case("budget", [from_engine(*each, provider="cloud") for each in (stack, *nodes)], finding)


def eks(machine: Any, number: Any, **more: Any) -> tuple[str, str, dict[str, Any]]:
    properties = {"instanceTypes": [machine], "scalingConfig": {"maxSize": number}, "capacityType": "ON_DEMAND", **more}
    return "aws:eks/nodeGroup:NodeGroup", "pool-gpu", properties


def karpenter(**spec: Any) -> tuple[str, str, dict[str, Any]]:
    required = {"node.kubernetes.io/instance-type": "g6.2xlarge", "karpenter.sh/capacity-type": "on-demand"}
    requirements = [{"key": key, "operator": "In", "values": [value]} for key, value in required.items()]
    whole = {"template": {"spec": {"requirements": requirements}}, **spec}
    return "kubernetes:karpenter.sh/v1:NodePool", "pool-gpu", {"spec": whole}


def gke(**more: Any) -> tuple[str, str, dict[str, Any]]:
    node = {"machineType": "g2-standard-4", **more.pop("node", {})}
    return "gcp:container/nodePool:NodePool", "pool-gpu", {"nodeConfig": node, **more}


def aks(**more: Any) -> tuple[str, str, dict[str, Any]]:
    properties = {"vmSize": "Standard_D4s_v5", "count": 2, "scaleSetPriority": "Regular", **more}
    return "azure-native:containerservice:AgentPool", "pool-cpu", properties


def serve(before: list[dict[str, Any]] | None = None, **deployment: Any) -> str:
    [application] = SERVE["applications"]
    changed = {**application, "deployments": [{"name": "Gateway", **deployment}]}
    return yaml.safe_dump({"applications": [*(before or []), changed]})


def serve_args(**arguments: Any) -> str:
    [application] = SERVE["applications"]
    return yaml.safe_dump({"applications": [{**application, "args": arguments}]})


SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "value": "x"}
UNKNOWN_TEXT = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
KEY = "hr_" + "a" * 43
GPU_RELEASE = {"chart": "nvidia-device-plugin", "version": "0.18.0"}
SELECTOR = ("budget", "spec/selector/matchLabels")
OF_SERVICE = {"ray.io/originated-from-crd": "RayService", "ray.io/originated-from-cr-name": "headrace"}
ONE = ("deployment", "spec/replicas", 1)
CLUSTER = RAY_SERVICE["rayClusterConfig"]
OPEN_HEAD = {**CLUSTER["headGroupSpec"], "rayStartParams": {"num-cpus": "0"}}
OPEN_CLUSTER = {"headGroupSpec": OPEN_HEAD}
OPEN = [("ray", "spec/serveConfigV2", serve_args(key_secret="k", limits={"in_flight": 1}))]
CLOSED = {
    "service": ("service", "spec/type", "ClusterIP"),
    "ingress": ("ingress", "", REMOVED),
    "route": ("route", "", REMOVED),
}
REDIRECT = [{"filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https"}}]}]


def matching(operator: str, key: Any = "app.kubernetes.io/name", **values: Any) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, **values}]}


def pod_of(namespace: str) -> dict[str, Any]:
    metadata = {"name": "p", "namespace": namespace, "labels": LABELS}
    return thing("v1", "Pod", "p", metadata=metadata, spec={**POD, "containers": [CONTAINER]})


def nested() -> list[Case]:
    """The same fault, wherever a pod template can stand."""
    bad = {**CONTAINER, "image": "registry.example.com/a:1"}
    places = [
        ("deployment", f"{P}/containers/1"),
        ("deployment", f"{P}/initContainers"),
        ("stateful", f"{P}/containers/1"),
        ("job", f"{P}/containers/1"),
        ("cron", f"{CRON}/template/spec/containers/1"),
        ("ray", f"{HEAD}/template/spec/containers/2"),
        ("ray", f"{WORKER}/template/spec/containers/1"),
        ("runtime", "spec/containers/1"),
        ("inference", "spec/transformer"),
    ]
    cases = []
    for part, path in places:
        if path.endswith("initContainers"):
            cases.append(fails("image-digest", part, path, [bad], "initContainers[0]"))
        elif path.endswith("transformer"):
            pod = {**POD, "containers": [bad]}
            cases.append(fails("image-digest", part, path, pod, "spec.transformer.containers[0]"))
        else:
            way, _, index = path.rpartition("/")
            cases.append(_appended(part, way, int(index), bad))
    cases.append(
        added("image-digest", "Pod/headrace/bare", thing("v1", "Pod", "bare", spec={**POD, "containers": [bad]}))
    )
    head = {
        **CLUSTER["headGroupSpec"],
        "template": {"metadata": {"labels": LABELS}, "spec": {**POD, "containers": [bad]}},
    }
    raycluster = thing("ray.io/v1", "RayCluster", "c", spec={"headGroupSpec": head})
    cases.append(added("image-digest", "headGroupSpec", raycluster, also=("ray-token",)))
    return cases


def _appended(part: str, way: str, index: int, container: dict[str, Any]) -> Case:
    documents = changed(part, "metadata/annotations", {})
    [node] = [d for d in documents if "annotations" in d["metadata"] and d["metadata"]["annotations"] == {}]
    for step in way.split("/"):
        node = node[int(step)] if step.isdigit() else node[step]
    node.insert(index, container)
    # A runtime's pods have no security context of their own.
    also = ("non-root", "seccomp") if part == "runtime" else ()
    return Case("image-digest", of(documents), f"containers[{index}]", also)


CASES: list[Case] = [
    # images
    passes("image-digest", "deployment", f"{C}/image", f"localhost:5000/a/b:1.2@{DIGEST}"),
    passes("image-digest", "inference", "spec/predictor/model/image", IMAGE),
    fails("image-digest", "deployment", f"{C}/image", "registry.example.com/a:1.2", "a:1.2 without a digest"),
    fails("image-digest", "deployment", f"{C}/image", f"a:1@{DIGEST[:-1]}", "without a digest"),
    fails("image-digest", "deployment", f"{C}/image", REMOVED, "(none)"),
    fails("image-digest", "inference", "spec/predictor/model/image", "a:1", "spec.predictor.model"),
    *nested(),
    passes("image-not-latest", "deployment", f"{C}/image", IMAGE),
    fails("image-not-latest", "deployment", f"{C}/image", f"a:latest@{DIGEST}", "a:latest"),
    fails("image-not-latest", "deployment", f"{C}/image", "localhost:5000/a", "localhost:5000/a", "image-digest"),
    # isolation
    passes("non-root", "deployment", f"{CONTEXT}/runAsNonRoot", True),
    fails("non-root", "deployment", f"{P}/securityContext/runAsNonRoot", REMOVED, "may run as root"),
    fails("non-root", "deployment", f"{CONTEXT}/runAsNonRoot", False, "may run as root"),
    fails("non-root", "deployment", f"{CONTEXT}/runAsUser", 0, "user 0"),
    passes("read-only-root", "deployment", f"{CONTEXT}/readOnlyRootFilesystem", True),
    fails("read-only-root", "deployment", f"{CONTEXT}/readOnlyRootFilesystem", REMOVED, "can write"),
    fails(
        "read-only-root",
        "ray",
        f"{WORKER}/template/spec/initContainers/0/securityContext",
        {**CONTAINER["securityContext"], "readOnlyRootFilesystem": False},
        "workerGroupSpecs[0]",
    ),
    passes("capabilities-dropped", "deployment", f"{CONTEXT}/capabilities/add", ["NET_BIND_SERVICE"]),
    fails("capabilities-dropped", "deployment", f"{CONTEXT}/capabilities", {"drop": ["NET_RAW"]}, "keeps"),
    fails("capabilities-dropped", "deployment", f"{CONTEXT}/capabilities/add", ["SYS_ADMIN"], "SYS_ADMIN"),
    passes("seccomp", "deployment", f"{CONTEXT}/seccompProfile", {"type": "Localhost", "localhostProfile": "p"}),
    fails("seccomp", "deployment", f"{P}/securityContext/seccompProfile", REMOVED, "no seccomp"),
    fails("seccomp", "deployment", f"{CONTEXT}/seccompProfile", {"type": "Unconfined"}, "no seccomp"),
    passes("no-privilege-escalation", "deployment", f"{CONTEXT}/privileged", False),
    fails("no-privilege-escalation", "deployment", f"{CONTEXT}/allowPrivilegeEscalation", REMOVED, "can gain"),
    fails("no-privilege-escalation", "deployment", f"{CONTEXT}/privileged", True, "is privileged"),
    passes("no-host-access", "deployment", f"{P}/hostNetwork", False),
    fails("no-host-access", "deployment", f"{P}/hostNetwork", True, "hostNetwork"),
    fails("no-host-access", "deployment", f"{P}/hostPID", True, "hostPID"),
    fails("no-host-access", "ray", f"{HEAD}/template/spec/volumes/0", {"hostPath": {"path": "/"}}, "host's /"),
    fails(
        "no-host-access", "deployment", f"{P}/volumes/0", {"hostPath": {"path": UNKNOWN}}, "the host's (not known yet)"
    ),
    fails("no-host-access", "deployment", f"{C}/ports/0/hostPort", 80, "port 80"),
    passes("pod-security-label", "namespace", "metadata/labels", {"pod-security.kubernetes.io/enforce": "baseline"}),
    fails("pod-security-label", "namespace", "metadata/labels", REMOVED, "no Pod Security"),
    fails(
        "pod-security-label",
        "namespace",
        "metadata/labels",
        {"pod-security.kubernetes.io/enforce": "privileged"},
        "privileged",
    ),
    # workloads
    passes("resources-stated", "deployment", f"{C}/resources/limits/ephemeral-storage", "1Gi"),
    fails("resources-stated", "deployment", f"{C}/resources", REMOVED, "requests.cpu, requests.memory, limits.cpu"),
    fails("resources-stated", "inference", "spec/predictor/model/resources/limits/memory", REMOVED, "limits.memory"),
    passes("probes", "ray", f"{HEAD}/{RAY_C}/ports", []),
    fails("probes", "deployment", f"{C}/livenessProbe", REMOVED, "no livenessProbe"),
    fails("probes", "ray", f"{HEAD}/template/spec/containers/1/readinessProbe", REMOVED, "(door) has no readiness"),
    fails("probes", "ray", f"{WORKER}/template/spec/initContainers/0/restartPolicy", "Always", "(wait)"),
    passes("job-limits", "job", "spec/backoffLimit", 0),
    fails("job-limits", "job", "spec/ttlSecondsAfterFinished", REMOVED, "ttlSecondsAfterFinished"),
    fails("job-limits", "cron", f"{CRON}/backoffLimit", REMOVED, "backoffLimit"),
    passes("recommended-labels", "deployment", "metadata/labels/app.kubernetes.io~1version", "1"),
    fails("recommended-labels", "service", "metadata/labels", {}, "app.kubernetes.io/part-of"),
    fails(
        "recommended-labels",
        "deployment",
        "spec/template/metadata/labels",
        {**LABELS, "app.kubernetes.io/name": None},
        "app.kubernetes.io/name",
    ),
    passes("topology-spread", "stateful", f"{P}/topologySpreadConstraints", REMOVED),
    passes("topology-spread", "deployment", f"{P}/topologySpreadConstraints", [{"topologyKey": "zone"}]),
    fails("topology-spread", "deployment", f"{P}/topologySpreadConstraints", [], "2 replicas"),
    fails("topology-spread", "ray", f"{WORKER}/template/spec/topologySpreadConstraints", REMOVED, "2 replicas"),
    passes(
        "disruption-budget",
        "budget",
        "spec/selector",
        {"matchExpressions": [{"key": "app.kubernetes.io/name", "operator": "In", "values": ["headrace"]}]},
    ),
    passes("disruption-budget", "budget", "spec/selector", UNKNOWN),
    passes("disruption-budget", "budget", "spec/selector", matching("Exists")),
    passes("disruption-budget", "budget", "spec/selector", matching("NotIn", values=["other"])),
    passes("disruption-budget", "budget", "spec/selector", matching("In", values=UNKNOWN)),
    passes("disruption-budget", "budget", "spec/selector", matching("In", key=UNKNOWN, values=["other"])),
    Case(
        "disruption-budget", of(edited(ONE, (*SELECTOR, OF_SERVICE), ("ray", f"{WORKER}/template/metadata", REMOVED)))
    ),
    fails("disruption-budget", "budget", "", REMOVED, "Deployment/headrace/exporter"),
    fails("disruption-budget", "budget", "spec/selector", REMOVED, "Deployment/headrace/exporter"),
    fails("disruption-budget", "budget", "spec/selector", matching("DoesNotExist"), "Deployment/headrace/exporter"),
    fails("disruption-budget", "budget", "spec/selector", matching("In", values=["other"]), "exporter"),
    fails("disruption-budget", "budget", "spec/selector", matching("NotIn", values=["headrace"]), "exporter"),
    fails("disruption-budget", *SELECTOR, {"ray.io/is-ray-node": "yes"}, "Deployment/headrace/exporter"),
    Case(
        "disruption-budget",
        of([*edited(ONE, (*SELECTOR, OF_SERVICE)), thing("ray.io/v1", "RayCluster", "headrace", spec=CLUSTER)]),
        "RayCluster/headrace/headrace",
    ),
    fails("disruption-budget", "budget", "metadata/namespace", "other", "RayService/headrace/headrace"),
    fails(
        "disruption-budget",
        "budget",
        "spec/selector/matchLabels",
        {"ray.io/node-type": "worker", "ray.io/originated-from-cr-name": "headrace"},
        "Deployment/headrace/exporter",
    ),
    # network
    passes("default-deny", "deny", "spec/podSelector", {"matchLabels": None}),
    passes("default-deny", "deny", "spec/podSelector", {"matchLabels": LABELS}),
    added("default-deny", "", pod_of("kube-system")),
    passes("default-deny", "deny", "spec/podSelector", UNKNOWN),
    passes("default-deny", "deny", "spec/policyTypes", UNKNOWN),
    passes("default-deny", "deny", "metadata/namespace", UNKNOWN),
    passes("default-deny", "deployment", "metadata/namespace", UNKNOWN),
    fails(
        "default-deny", "deny", "spec/policyTypes", REMOVED, "no NetworkPolicy denies connections of spec.template.spec"
    ),
    fails("default-deny", "deny", "", REMOVED, "no NetworkPolicy denies connections of spec.template.spec"),
    fails(
        "default-deny",
        "deny",
        "spec/policyTypes",
        ["Ingress"],
        "no NetworkPolicy denies connections of spec.template.spec",
    ),
    fails("default-deny", "deny", "spec/egress", [{}], "no NetworkPolicy denies connections of spec.template.spec"),
    fails(
        "default-deny",
        "deny",
        "spec/podSelector",
        {"matchLabels": {"a": "b"}},
        "no NetworkPolicy denies connections of spec.template.spec",
    ),
    added("default-deny", "Pod/lonely/p", pod_of("lonely")),
    # exposure
    passes("load-balancer-sources", "service", "spec", {"type": "ClusterIP"}),
    passes("load-balancer-sources", "service", "spec/loadBalancerSourceRanges", ["10.0.0.0/8", "2001:db8::/32"]),
    fails("load-balancer-sources", "service", "spec/loadBalancerSourceRanges", REMOVED, "no source ranges"),
    fails(
        "load-balancer-sources", "service", "spec/loadBalancerSourceRanges", ["10.0.0.0/8", "0.0.0.0/0"], "0.0.0.0/0"
    ),
    fails("load-balancer-sources", "service", "spec/loadBalancerSourceRanges", ["::/0"], "::/0"),
    passes("ingress-tls", "ingress", "spec/rules", [{}]),
    fails("ingress-tls", "ingress", "spec/tls", REMOVED, "the Ingress has no TLS"),
    fails("ingress-tls", "ingress", "spec/rules/0/host", "other.example.com", "other.example.com"),
    passes("route-tls", "route", "spec/parentRefs", [{"name": "edge", "port": 443}]),
    passes("route-tls", "route", "spec/parentRefs", [{"name": "shared", "namespace": "edge", "sectionName": "s"}]),
    Case(
        "route-tls",
        of(
            with_more(
                thing(
                    "gateway.networking.k8s.io/v1",
                    "HTTPRoute",
                    "redirect",
                    spec={"parentRefs": [{"name": "edge", "sectionName": "http"}], "rules": REDIRECT},
                )
            )
        ),
    ),
    passes("route-tls", "route", "spec/parentRefs", [{"name": UNKNOWN, "port": 80}]),
    Case("route-tls", of(edited(("route", "spec/parentRefs/0/sectionName", "http"), ("route", "spec/rules", UNKNOWN)))),
    fails("route-tls", "route", "spec/parentRefs", [{"name": "edge", "port": 80}], "plain HTTP"),
    fails("route-tls", "route", "spec/parentRefs", [{"name": "edge"}], "names no listener"),
    fails("route-tls", "route", "spec/parentRefs", [{"name": "edge", "sectionName": "http"}], "plain HTTP"),
    fails("route-tls", "route", "spec/parentRefs", [{"name": "shared", "port": 80}], "port 80"),
    fails("route-tls", "gateway", "spec/listeners/1/tls", REMOVED, "no certificate"),
    passes("exposure-limits", "ray", "spec/serveConfigV2", "not: [a document"),
    passes("exposure-limits", "ray", "spec/serveConfigV2", UNKNOWN),
    passes("exposure-limits", "ray", "spec/serveConfigV2", serve(before=[{"name": "other", "args": {}}])),
    Case("exposure-limits", of(edited(*OPEN, *(CLOSED[door] for door in ("service", "ingress", "route"))))),
    Case("exposure-limits", of(edited(*OPEN, CLOSED["ingress"], CLOSED["route"])), "limits.queue"),
    Case("exposure-limits", of(edited(*OPEN, CLOSED["service"], CLOSED["route"])), "limits.queue"),
    Case("exposure-limits", of(edited(*OPEN, CLOSED["service"], CLOSED["ingress"])), "limits.queue"),
    fails("exposure-limits", "ray", "spec/serveConfigV2", serve_args(key_secret="k"), "limits.in_flight"),
    fails(
        "exposure-limits", "ray", "spec/serveConfigV2", serve_args(limits={"in_flight": 1, "queue": 1}), "key_secret"
    ),
    # access
    passes("no-wildcard-rights", "role", "rules", [{"apiGroups": [""], "resources": ["pods/*"], "verbs": ["get"]}]),
    added("no-wildcard-rights", "", thing("example.com/v1", "Other", "o", rules=[{"verbs": ["*"]}])),
    fails("no-wildcard-rights", "role", "rules/0/verbs", ["*"], "rules[0].verbs"),
    added(
        "no-wildcard-rights",
        "nonResourceURLs",
        thing("rbac.authorization.k8s.io/v1", "ClusterRole", "c", rules=[{"nonResourceURLs": ["*"], "verbs": ["get"]}]),
    ),
    passes("no-cluster-admin", "binding", "roleRef/name", "view"),
    added("no-cluster-admin", "", thing("example.com/v1", "Other", "o", roleRef={"name": "cluster-admin"})),
    fails("no-cluster-admin", "binding", "roleRef/name", "cluster-admin", "cluster-admin"),
    fails("no-cluster-admin", "binding", "subjects", [{"kind": "Group", "name": "system:masters"}], "system:masters"),
    passes("no-token-automount", "account", "automountServiceAccountToken", False),
    fails("no-token-automount", "account", "automountServiceAccountToken", REMOVED, "ServiceAccount's token"),
    fails("no-token-automount", "deployment", f"{P}/automountServiceAccountToken", True, "mounts the token"),
    passes("own-service-account", "deployment", f"{P}/serviceAccountName", "other"),
    fails("own-service-account", "deployment", f"{P}/serviceAccountName", "default", "ServiceAccount default"),
    fails("own-service-account", "inference", "spec/predictor/serviceAccountName", REMOVED, "spec.predictor"),
    engine("secret-data-is-secret", "", "kubernetes:core/v1:Secret", {"stringData": {"a": SECRET, "b": UNKNOWN_TEXT}}),
    engine("secret-data-is-secret", "", "kubernetes:core/v1:Secret", {"data": {**SECRET, "value": {"a": "x"}}}),
    engine("secret-data-is-secret", "stringData.a", "kubernetes:core/v1:Secret", {"stringData": {"a": "x"}}),
    passes(
        "no-secret-in-environment",
        "deployment",
        f"{C}/env",
        [
            {"name": "TOKEN_PATH", "value": "/t"},
            {"name": "MAX_TOKENS_URL", "value": "u"},
            {"name": "PASSWORD", "value": ""},
        ],
    ),
    fails("no-secret-in-environment", "deployment", f"{C}/env", [{"name": "DB_PASSWORD", "value": "x"}], "DB_PASSWORD"),
    fails(
        "no-secret-in-environment",
        "deployment",
        f"{C}/env",
        [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        "K from a Secret",
    ),
    passes("no-secret-in-environment", "deployment", f"{C}/envFrom", [{"configMapRef": {"name": "all"}}]),
    fails("no-secret-in-environment", "deployment", f"{C}/envFrom", [{"secretRef": {"name": "all"}}], "Secret all"),
    fails(
        "no-secret-in-environment",
        "deployment",
        f"{C}/env",
        [{"name": UNKNOWN, "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        "a variable from a Secret",
    ),
    passes("no-secret-in-config", "config", "data/text", "the key hr_… is in a file; -----BEGIN CERTIFICATE-----"),
    passes("no-secret-in-config", "secret", "data/text", KEY),
    fails("no-secret-in-config", "config", "data/text", f"key: {KEY}\n", "data.text"),
    fails("no-secret-in-config", "config", "data/text", "-----BEGIN EC PRIVATE KEY-----", "data.text"),
    fails("no-secret-in-config", "deployment", f"{C}/args", [f"--key={KEY}"], "holds a key"),
    # state
    passes("storage-size", "claim", "spec/accessModes", ["ReadWriteMany"]),
    fails("storage-size", "claim", "spec/resources", REMOVED, "no size"),
    fails("storage-size", "stateful", "spec/volumeClaimTemplates/0/spec/accessModes", [], "no access mode"),
    passes("storage-class", "claim", "spec/storageClassName", ""),
    fails("storage-class", "claim", "spec/storageClassName", REMOVED, "default class"),
    fails(
        "storage-class", "stateful", "spec/volumeClaimTemplates/0/spec/storageClassName", REMOVED, "volumeClaimTempl"
    ),
    passes("definitions-kept", "definition", "metadata/annotations/a", "b"),
    fails("definitions-kept", "definition", "metadata/annotations", REMOVED, "deleted with the stack"),
    # gpu
    passes("gpu-pods", "ray", f"{GPU}/tolerations", [{"operator": "Exists"}]),
    passes("gpu-pods", "ray", f"{GPU}/nodeSelector", REMOVED),
    fails("gpu-pods", "ray", f"{GPU}/tolerations", REMOVED, "does not tolerate"),
    fails("gpu-pods", "ray", f"{GPU}/containers", [{**GPU_CONTAINER, "resources": CONTAINER["resources"]}], "no limit"),
    fails("gpu-pods", "ray", f"{GPU}/containers/0/resources/requests/nvidia.com~1gpu", 2, "must be equal"),
    added("one-gpu-owner", "", thing("helm.sh/v3", "Release", "other", chart="redis", version="1.0.0")),
    passes("one-gpu-owner", "deployment", f"{C}/image", f"nvcr.io/nvidia/k8s-device-plugin@{DIGEST}"),
    added("one-gpu-owner", "", thing("example.com/v1", "Other", "o", **GPU_RELEASE)),
    added("one-gpu-owner", "advertise GPUs", thing("helm.sh/v3", "Release", "plugin", **GPU_RELEASE)),
    added(
        "one-gpu-owner",
        "advertise GPUs",
        thing(
            "apps/v1",
            "DaemonSet",
            "plugin",
            spec={
                "template": {
                    "metadata": {"labels": LABELS},
                    "spec": {
                        **POD,
                        "containers": [{**CONTAINER, "image": f"nvcr.io/nvidia/k8s-device-plugin:v1@{DIGEST}"}],
                    },
                }
            },
        ),
    ),
    fails("one-gpu-owner", "operator", "chart", "nvidia/gpu-operator", "own the driver"),
    # ray
    passes("ray-token", "ray", f"{HEAD}/{RAY_C}/env/0", {"name": "RAY_AUTH_MODE", "value": "token"}),
    fails("ray-token", "ray", f"{HEAD}/{RAY_C}/env", [], "RAY_AUTH_MODE=token"),
    fails("ray-token", "ray", f"{WORKER}/{RAY_C}/env/0/value", "disabled", "workerGroupSpecs[0]"),
    fails("ray-token", "ray", f"{WORKER}/{RAY_C}/env/1", {"name": "A", "value": "b"}, "RAY_AUTH_TOKEN_PATH"),
    passes("ray-dashboard-loopback", "ray", f"{HEAD}/rayStartParams/dashboard-host", "localhost"),
    added("ray-dashboard-loopback", "", thing("ray.io/v1", "RayJob", "j", spec={"clusterSelector": {"a": "b"}})),
    fails("ray-dashboard-loopback", "ray", f"{HEAD}/rayStartParams/dashboard-host", "0.0.0.0", "0.0.0.0"),
    added("ray-dashboard-loopback", "RayCluster", thing("ray.io/v1", "RayCluster", "c", spec=OPEN_CLUSTER)),
    fails("ray-dashboard-loopback", "ray", f"{HEAD}/rayStartParams/dashboard-host", REMOVED, "all addresses"),
    passes("ray-head-no-replicas", "ray", f"{HEAD}/rayStartParams/num-cpus", 0),
    fails("ray-head-no-replicas", "ray", f"{HEAD}/rayStartParams/num-cpus", "4", "offers CPUs"),
    fails("ray-head-no-replicas", "ray", f"{HEAD}/rayStartParams", {"dashboard-host": "::1"}, "offers CPUs"),
    passes("ray-deletion-delay", "ray", "spec/rayClusterDeletionDelaySeconds", 600),
    passes("ray-deletion-delay", "ray", "spec/serveConfigV2", serve(graceful_shutdown_timeout_s=660)),
    passes("ray-deletion-delay", "ray", "spec/serveConfigV2", UNKNOWN),
    fails("ray-deletion-delay", "ray", "spec/rayClusterDeletionDelaySeconds", 599, "599 s"),
    fails("ray-deletion-delay", "ray", "spec/rayClusterDeletionDelaySeconds", REMOVED, "after 60 s"),
    # charts
    passes("chart-pinned", "operator", "version", "1.5.0-rc.1"),
    added("chart-pinned", "", thing("helm.sh/v4", "Chart", "ours", chart="./charts/headrace")),
    engine("chart-pinned", "", "kubernetes:helm.sh/v4:Chart", {}),
    added("chart-pinned", "", thing("example.com/v1", "Other", "o", chart="redis")),
    fails("chart-pinned", "operator", "version", "~1.5.0", "~1.5.0"),
    fails("chart-pinned", "operator", "version", REMOVED, "no version"),
    added("chart-pinned", "oci://", thing("helm.sh/v4", "Chart", "c", chart="oci://r.example.com/c.tgz")),
    engine("explicit-provider", "", "kubernetes:core/v1:ConfigMap", {}, provider="cluster"),
    engine("explicit-provider", "", "headrace:index:Process", {}, provider="default"),
    engine("explicit-provider", "default provider", "kubernetes:core/v1:ConfigMap", {}, provider="default_4_25_0"),
    engine("explicit-provider", "default provider", "kubernetes:core/v1:ConfigMap", {}, provider=""),
    # the budget: USD per hour x 730 of the table's prices
    budget("", None, eks("g6.xlarge", 900)),
    budget("", UNKNOWN_TEXT, eks("g6.xlarge", 900)),
    budget("", 1, eks("g6.xlarge", 2), prices=UNKNOWN_TEXT),
    budget("", 1176, eks("g6.xlarge", 2)),
    budget("cost up to 1,175.01 USD per month, but its budget is 1,175.00", 1175, eks("g6.xlarge", 2)),
    budget("cost up to 1,762.51 USD", 1700, eks("g6.xlarge", 1), eks("g6.xlarge", 2)),
    # Without a price for spot, that on demand is the most that a node costs.
    budget("cost up to 1,175.01 USD", 1000, eks("g6.xlarge", 2, capacityType="SPOT")),
    budget("", 1, eks(UNKNOWN_TEXT, 2)),
    budget("", 1, eks("g6.xlarge", UNKNOWN_TEXT)),
    budget("", 1, eks("g6.xlarge", 1, instanceTypes=UNKNOWN_TEXT)),
    budget("the price of p9.huge is unknown", 1_000_000, eks("p9.huge", 1)),
    budget(
        "cost up to 1,175.01 USD",
        1000,
        eks("", 2, instanceTypes=[]),
        ("aws:ec2/launchTemplate:LaunchTemplate", "pool-cpu", {"instanceType": "p5.48xlarge"}),
        ("aws:ec2/launchTemplate:LaunchTemplate", "pool-gpu", {"instanceType": "g6.xlarge"}),
    ),
    budget("the price file cannot be read", 1, prices="no/such/file.yaml"),
    budget("cost up to 2,140.94 USD", 2000, karpenter(replicas=3)),
    budget("cost up to 1,427.30 USD", 1000, karpenter(limits={"cpu": "16"})),
    budget("", 1, karpenter(limits={"cpu": UNKNOWN_TEXT})),
    budget("cost up to 1,031.93 USD", 1000, gke(autoscaling={"totalMaxNodeCount": 2})),
    budget("cost up to 1,547.89 USD", 1500, gke(nodeCount=1)),
    budget("cost up to 1,031.93 USD", 1000, gke(nodeCount=1, nodeLocations=["a", "b"])),
    budget("", 1, gke(nodeCount=1, nodeLocations=UNKNOWN_TEXT)),
    budget("cost up to 580.06 USD", 500, gke(autoscaling={"totalMaxNodeCount": 2}, node={"spot": True})),
    budget("cost up to 1,031.93 USD", 1000, gke(autoscaling={"totalMaxNodeCount": 2}, node={"flexStart": True})),
    budget("cost up to 280.32 USD", 200, aks()),
    budget("cost up to 700.80 USD", 200, aks(maxCount=5)),
    budget(
        "cost up to 280.32 USD",
        200,
        (
            "azure-native:containerservice:ManagedCluster",
            "cluster",
            {
                "agentPoolProfiles": [
                    {"mode": "System", "vmSize": "Standard_D4s_v5", "count": 2},
                    {"mode": "User", "vmSize": "Standard_D4s_v5", "count": 9},
                ]
            },
        ),
    ),
    # exceptions
    passes(
        "exceptions-have-reasons",
        "deployment",
        "metadata/annotations",
        {"policy.headrace.io/probes": "the program has no port to ask"},
    ),
    fails(
        "exceptions-have-reasons",
        "deployment",
        "metadata/annotations",
        {"policy.headrace.io/probes": "because"},
        "gives no reason",
    ),
    fails(
        "exceptions-have-reasons",
        "deployment",
        "metadata/annotations",
        {"policy.headrace.io/nonsense": "a long enough reason"},
        "does not name a rule",
    ),
]
