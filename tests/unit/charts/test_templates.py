"""What every object and pod of the chart has in common, whatever the values."""

from __future__ import annotations

import re

import pytest

from infra import network
from infra.addons.kuberay import KUBERAY
from infra.addons.monitoring import MONITORING
from infra.config import StackConfig
from infra.policies.catalogue import evaluate_manifests
from infra.resources.provisioned_cluster import IdentityEndpoint
from tests.rendering.budgets import blocking
from tests.rendering.chart_values import VARIANTS

LABELS = ("name", "instance", "component", "part-of", "version", "managed-by")
NAMED = {"mine", "data", "gcs", "backups", "documents", "archive", "shared-documents", "weights", "headrace-db-app"} | {
    "bucket-keys",
    "backup-key",
    "kube-root-ca.crt",
}
"""Objects that the values of the tests name instead of having them made; the last one Kubernetes makes."""

DNS_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"


@pytest.fixture(scope="session", params=["full", *VARIANTS])
def rendered(request, render, full):
    return full if request.param == "full" else render(VARIANTS[request.param])


def test_names_and_labels_follow_the_conventions(rendered):
    release = rendered.one("RayService")["metadata"]["name"]
    seen = set()
    for given in rendered:
        metadata = given["metadata"]
        assert re.fullmatch(DNS_LABEL, metadata["name"]), given
        assert metadata["name"] == release or metadata["name"].startswith(f"{release}-")
        # A volume belongs to the whole cluster; its name contains the namespace.
        assert metadata.get("namespace") == (None if given["kind"] == "PersistentVolume" else "headrace")
        assert [k for k in LABELS if not metadata["labels"].get(f"app.kubernetes.io/{k}")] == [], given
        assert metadata["labels"]["app.kubernetes.io/instance"] == "headrace"
        key = given["kind"], metadata["name"]
        assert key not in seen
        seen.add(key)
    for name, pod in rendered.pods():
        labels = pod["metadata"]["labels"]
        assert [k for k in LABELS if not labels.get(f"app.kubernetes.io/{k}")] == [], name
        assert "helm.sh/chart" not in labels, "a new chart alone would roll every pod"


def test_pods_meet_the_restricted_standard(rendered):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, and what goes beyond it."""
    volumes = {"configMap", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for name, pod in rendered.pods():
        spec = pod["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & spec.keys(), name
        security = spec["securityContext"]
        assert security["runAsNonRoot"]
        assert security["runAsUser"] == security["runAsGroup"] == 10001
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["serviceAccountName"] in {o["metadata"]["name"] for o in rendered.of("ServiceAccount")}
        for volume in spec["volumes"]:
            assert len(volume.keys() & volumes) == 1, (name, volume)
    options = rendered.cluster.get("autoscalerOptions")
    extra = [("autoscaler", options)] if options else []
    for name, container in (*rendered.containers(), *extra):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }, name
        resources = container["resources"]
        assert resources["requests"].keys() >= {"cpu", "memory"}, name
        assert resources["limits"].keys() >= {"cpu", "memory"}, name
        assert not any("hostPort" in p for p in container.get("ports", ())), name


def test_containers_that_stay_are_probed(rendered):
    for _, pod in rendered.pods():
        if "restartPolicy" in pod["spec"]:
            continue  # a Job
        stay = [c for c in pod["spec"]["initContainers"] if c.get("restartPolicy") == "Always"]
        for container in (*pod["spec"]["containers"], *stay):
            assert {"readinessProbe", "livenessProbe"} <= container.keys(), container["name"]
            # A busy machine answers late: a restart, or a pod out of its Service, would not make it less busy.
            assert [container[p].get("timeoutSeconds", 1) for p in ("readinessProbe", "livenessProbe")] == [10, 10]


def test_ray_has_ten_minutes_to_start(rendered):
    """A start that Ray itself gives up, and the next, are not cut short by a probe."""
    for name, pod in rendered.pods():
        container = pod["spec"]["containers"][0]
        if container["name"] not in ("ray-head", "ray-worker"):
            continue
        probe = container["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] == 600, name
        assert probe["timeoutSeconds"] == 10
        assert probe["exec"] == container["livenessProbe"]["exec"]
        assert "initialDelaySeconds" not in container["livenessProbe"]


def test_mounts_and_ports_belong_together(rendered):
    for name, pod in rendered.pods():
        volumes = [v["name"] for v in pod["spec"]["volumes"]]
        assert len(set(volumes)) == len(volumes), name
        containers = (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"])
        mounted = {m["name"] for c in containers for m in c["volumeMounts"]}
        if name == "head" and rendered.cluster["enableInTreeAutoscaling"]:
            mounted |= {m["name"] for m in rendered.cluster["autoscalerOptions"]["volumeMounts"]}
        assert mounted == set(volumes), name
        for container in containers:
            paths = [m["mountPath"] for m in container["volumeMounts"]]
            assert len(set(paths)) == len(paths), (name, container["name"])
            environment = [e["name"] for e in container.get("env", ())]
            assert len(set(environment)) == len(environment), (name, container["name"])
            ports = [p["name"] for p in container.get("ports", ())]
            assert len(set(ports)) == len(ports), (name, container["name"])


def test_referenced_objects_exist(rendered):
    """ConfigMaps, Secrets and claims that pods mount are the chart's, or were named by values."""
    for name, pod in rendered.pods():
        for volume in pod["spec"]["volumes"]:
            for source in (volume, *volume.get("projected", {}).get("sources", ())):
                for kind, field in (("ConfigMap", "configMap"), ("Secret", "secret")):
                    if field in source:
                        _there(rendered, kind, source[field], name)
            if claim := volume.get("persistentVolumeClaim", {}).get("claimName"):
                own = {o["metadata"]["name"] for o in rendered.of("PersistentVolumeClaim")}
                assert claim in own | NAMED, (name, claim)


def _there(rendered, kind, source, name):
    wanted = source.get("secretName") or source["name"]
    found = [o for o in rendered.of(kind) if o["metadata"]["name"] == wanted]
    made = {o["spec"]["target"]["name"] for o in rendered.of("ExternalSecret")} if kind == "Secret" else set()
    assert found or wanted in NAMED | made, (name, kind, wanted)
    for item in source.get("items", ()) if found else ():
        keys = {*found[0].get("data", {}), *found[0].get("binaryData", {})}
        assert item["key"] in keys, (name, kind, wanted, item)


def test_selectors_stay_the_same_when_versions_change(full):
    """What selects pods is made of the release's name alone: a Service's or a policy's pods stay its own."""
    for given in full:
        spec = given.get("spec", {})
        for selector in (spec.get("selector"), spec.get("podSelector")):
            if isinstance(selector, dict):
                keys = {*selector.get("matchLabels", {}), *(e["key"] for e in selector.get("matchExpressions", ()))}
                stable = {f"app.kubernetes.io/{k}" for k in ("name", "instance", "component")}
                assert keys <= stable | {"headrace.io/pool"}, given["metadata"]["name"]


def test_selectors_find_pods(rendered):
    labels = [p["metadata"]["labels"] for _, p in rendered.pods()]
    for given in (*rendered.of("NetworkPolicy"), *rendered.of("PodDisruptionBudget"), *rendered.of("PodMonitor")):
        selector = given["spec"].get("podSelector") or given["spec"]["selector"]
        if given["metadata"]["labels"]["app.kubernetes.io/component"] == "network" and "ingest" in str(selector):
            continue  # there for when there are collections
        assert any(_selects(selector, found) for found in labels), given["metadata"]["name"]


def test_a_request_without_tls_is_redirected(full):
    listeners = full.one("Gateway")["spec"]["listeners"]
    assert [(each["name"], each["port"], each["protocol"]) for each in listeners] == [
        ("https-0", 443, "HTTPS"),
        ("http-0", 80, "HTTP"),
    ]
    assert "tls" not in listeners[1]
    redirect = full.one("HTTPRoute", "-redirect")
    assert [parent["sectionName"] for parent in redirect["spec"]["parentRefs"]] == ["http-0"]
    [rule] = redirect["spec"]["rules"]
    assert set(rule) == {"filters"}  # nothing is answered there
    assert rule["filters"][0]["requestRedirect"] == {"scheme": "https", "statusCode": 301}


def test_a_gateway_passes_annotations_on_to_its_load_balancer(full):
    gateway = full.one("Gateway")
    assert gateway["spec"]["infrastructure"] == {"annotations": {"networking.gke.io/load-balancer-type": "Internal"}}
    assert "networking.gke.io/load-balancer-type" not in gateway["metadata"]["annotations"]
    assert gateway["metadata"]["annotations"]["cert-manager.io/cluster-issuer"] == "internal"


def test_every_pod_can_be_evicted(rendered):
    assert blocking(rendered) == []


@pytest.mark.parametrize("autoscaling", [False, True])
@pytest.mark.parametrize(("least", "replicas"), [(1, 1), (1, 2), (2, 2), (3, 5)])
def test_a_node_of_a_pool_can_be_drained(least, replicas, autoscaling, render):
    pools = {"serving": {"minReplicas": least, "replicas": replicas, "maxReplicas": 5}}
    api = {"to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]}
    made = render({"pools": pools, "autoscaling": {"enabled": autoscaling}, "networkPolicy": {"apiServer": api}})
    assert blocking(made) == []
    assert bool(made.of("PodDisruptionBudget")) == (replicas > 1)


def _selects(selector, labels):
    exact = selector.get("matchLabels", {}).items() <= labels.items()
    return exact and all(labels.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", ()))


def test_every_pod_is_denied_by_default(rendered):
    if not rendered.of("NetworkPolicy"):
        return
    deny = rendered.one("NetworkPolicy", "default-deny")["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & deny.keys()
    for name, pod in rendered.pods():
        assert _selects(deny["podSelector"], pod["metadata"]["labels"]), name


IDENTITY = {"to": [{"ipBlock": {"cidr": "169.254.170.23/32"}}], "ports": [{"protocol": "TCP", "port": 80}]}


@pytest.mark.parametrize(
    "model",
    [
        {"source": "hf://a/b"},
        {"source": "file:///a", "loras": [{"name": "l", "source": "hf://a/b"}]},
        {"source": "s3://b/c"},
        {"source": "s3://b/c", "token": {"ref": "file:/k"}},
        {"source": "az://a/b/c", "token": {"ref": "file:/k"}, "loras": [{"name": "l", "source": "gs://b/c"}]},
        {"source": "file:///a"},
        {"source": "package://a/b"},
    ],
    ids=repr,
)
def test_workers_reach_the_weights_as_in_a_stack_of_pulumi(render, model):
    """Without rules of one's own the chart makes those that the program gives it."""
    model = {"name": "m", "engine": "vllm", "pool": "serving", **model}
    rendered = render({"catalog": {"models": [model]}, "networkPolicy": {"identity": [IDENTITY]}})
    found = [p for p in rendered.of("NetworkPolicy") if p["metadata"]["name"].endswith("-models")]
    pools = [{"name": "serving", "cpus": 4, "memory": "8Gi"}]
    settings = {"target": "kubeconfig", "image": {"tag": "1"}, "assistants": [], "pools": pools, "models": [model]}
    config = StackConfig.model_validate(settings)
    expected = network.policy_values(config, KUBERAY, MONITORING, [IdentityEndpoint("169.254.170.23/32", 80)])["models"]
    assert [p["spec"]["egress"] for p in found] == ([expected] if expected else [])
    for policy in found:
        assert policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "worker"
        assert policy["spec"]["policyTypes"] == ["Egress"]


def test_workers_reach_the_index_of_an_apps_packages(render):
    app = {"engine": "app", "name": "m", "pool": "serving", "object": "app:graph", "archive": "QQ=="}
    for installs in (True, False):
        rendered = render({"catalog": {"models": [{**app, "installs": installs}]}})
        assert any(p["metadata"]["name"].endswith("-models") for p in rendered.of("NetworkPolicy")) is installs


def test_own_rules_replace_those_for_weights(render):
    rules = [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"protocol": "TCP", "port": 3128}]}]
    model = {"engine": "vllm", "name": "m", "source": "s3://a/b", "endpoint": "http://minio:9000", "pool": "serving"}
    rendered = render({"catalog": {"models": [model]}, "networkPolicy": {"models": rules, "identity": [IDENTITY]}})
    assert rendered.one("NetworkPolicy", "models")["spec"]["egress"] == rules


def test_pods_using_the_bucket_reach_the_identity_endpoint(render):
    variant = VARIANTS["container in Azure"]
    policy = render(variant).one("NetworkPolicy", "state")["spec"]
    assert policy["egress"][-1] == variant["networkPolicy"]["identity"][0]
    assert policy["podSelector"]["matchExpressions"][0]["values"] == ["worker", "migrate", "backup"]


@pytest.mark.parametrize(("retain", "policy"), [(True, "Orphan"), (False, "Owner")])
def test_the_secret_of_a_store_stays_where_data_stays(render, retain, policy):
    given = {"externalSecret": {"store": "vault", "key": "apps/headrace"}}
    rendered = render({"secrets": given, "persistence": {"retain": retain}})
    assert rendered.of("Secret") == []
    spec = rendered.one("ExternalSecret")["spec"]
    assert spec["target"] == {"name": "headrace", "creationPolicy": policy, "deletionPolicy": "Retain"}
    assert spec["dataFrom"] == [{"extract": {"key": "apps/headrace"}}]


def test_replicas_can_wait_for_an_entry_without_a_revision(render):
    """The operator writes it beside what the entry holds, which `Merge` keeps."""
    given = {"externalSecret": {"store": "vault", "key": "apps/headrace"}, "revision": "3"}
    made = render({"secrets": given}).one("ExternalSecret")
    template = made["spec"]["target"]["template"]
    assert (template["mergePolicy"], template["data"]) == ("Merge", {"revision": "3"})
    # With a template the operator copies no labels of the ExternalSecret.
    assert template["metadata"]["labels"] == made["metadata"]["labels"]


def test_secrets_travel_as_files(rendered):
    for name, container in rendered.containers():
        text = str((container.get("command"), container.get("args"), container.get("env")))
        assert "secretKeyRef" not in text, name
        for secret in rendered.of("Secret"):
            for value in secret["data"].values():
                assert value not in text, name


@pytest.mark.parametrize(
    ("data", "variable"),
    [("s3://bucket/prefix", "AWS_SHARED_CREDENTIALS_FILE"), ("gs://bucket", "GOOGLE_APPLICATION_CREDENTIALS")],
)
def test_bucket_credentials_are_mounted_as_a_file(render, data, variable):
    file = {"secret": {"name": "bucket-keys", "items": [{"key": "file", "path": "bucket-credentials"}]}}
    variable = {"name": variable, "value": "/etc/headrace/secrets/bucket-credentials"}
    having = set()
    for name, pod in render({**VARIANTS["bucket by keys"], "serving": {"store": {"data": data}}}).pods():
        [sources] = [v["projected"]["sources"] for v in pod["spec"]["volumes"] if v["name"] == "secrets"] or [[]]
        for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
            if variable in container.get("env", ()):
                having.add(container["name"])
                assert file in sources, name
                assert "/etc/headrace/secrets" in {m["mountPath"] for m in container["volumeMounts"]}, name
        assert (file in sources) == any(variable in c.get("env", ()) for c in pod["spec"]["containers"]), name
    assert having == {"wait", "ray-worker", "migrate", "backup"}


def test_archives_are_encrypted_if_a_key_is_set(render, full):
    def backup(rendered):
        spec = rendered.one("CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        [container] = spec["containers"]
        mounts = {m["name"]: m for m in container["volumeMounts"]}
        return container["args"], mounts.get("backup-key"), [v for v in spec["volumes"] if v["name"] == "backup-key"]

    assert backup(render(VARIANTS["backup"])) == (["backup", "/backups"], None, [])
    args, mount, [volume] = backup(full)
    assert args == ["backup", "/backups", "--key", "/etc/headrace/backup/key"]
    assert mount == {"name": "backup-key", "mountPath": "/etc/headrace/backup", "readOnly": True}
    secret = {"secretName": "backup-key", "defaultMode": 0o440, "items": [{"key": "backup-2026-05.key", "path": "key"}]}
    assert volume["secret"] == secret


def test_other_metadata_is_on_every_object(full):
    for given in full:
        assert given["metadata"]["labels"]["team"] == "platform"
        assert given["metadata"]["annotations"]["example.com/owner"] == "platform"


def test_images_are_digests_where_values_name_them(full):
    for name, container in full.containers():
        assert re.fullmatch(r"mirror\.example\.com/\S+@sha256:[0-9a-f]{64}", container["image"]), name


# Each with the reason why the values of the tests break it.
EXCEPTIONS = {
    "image-digest": "the defaults name a tag: the digest of an image is not known before it is built",
    "storage-class": "the defaults take the cluster's",
}


UNRULY = {"no network policies, no migration", "pools", "nothing is kept", "backup", "ingestion without an end"}
"""Values that switch off what a rule asks for."""


@pytest.mark.parametrize("name", ["full", *sorted(VARIANTS.keys() - UNRULY)])
def test_the_policy_pack_holds(name, render, full):
    objects = full if name == "full" else render(VARIANTS[name])
    found = [str(v) for v in evaluate_manifests(objects) if v.rule.name not in EXCEPTIONS]
    assert found == []
