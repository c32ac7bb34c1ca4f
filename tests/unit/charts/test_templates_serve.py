"""The chart's Serve document is the one that Python makes, for every configuration."""

from __future__ import annotations

import json

import pytest
import yaml

from infra.providers.ray_head import _environment
from infra.providers.ray_ports import RayPorts
from serving.config import Catalog, ServingConfig
from serving.config.serve_document import serve_document
from tests.rendering.chart import CHART, FULL

METRICS = "/var/run/headrace/metrics"
STORE = {"database": "postgresql://u@db/h", "data": "/var/lib/headrace/"}
KEY = {"ref": "file:/etc/headrace/secrets/key-secret"}
LLAMA = {"engine": "llamacpp", "name": "small", "source": "file:///models/a.gguf"}
VLLM = {"engine": "vllm", "name": "large", "source": "hf://a/b", "pool": "gpu"}
SCALE = {"min_replicas": 0, "max_replicas": 3}

CONFIGURATIONS = {
    "as little as there can be": ({"store": STORE, "key_secret": KEY}, {}),
    "numbers that are not round": (
        {
            "store": {**STORE, "statement_timeout_s": 2.5, "connections": 7},
            "key_secret": KEY,
            "limits": {"in_flight": 3, "queue": 0, "queue_timeout_s": 0.25, "body_bytes": 123_456_789_012},
            "gateway": {"replicas": 5, "cpus": 0.1},
            "retrieval": {"replicas": 3, "cpus": 1.5, "autoscaling": {"max_replicas": 4}},
        },
        {},
    ),
    "a gateway that scales, elsewhere": (
        {
            "store": STORE,
            "key_secret": KEY,
            "gateway": {"replicas": 2, "cpus": 1, "pool": "gpu", "autoscaling": {"max_replicas": 9}},
        },
        {},
    ),
    "every engine": (
        {"store": STORE, "key_secret": KEY},
        {
            "models": [
                {
                    **LLAMA,
                    "slots": 7,
                    "adapters": {"max": 3},
                    "access": {"tenants": ["acme"]},
                    "autoscaling": SCALE,
                    "price": {"input": "0.15", "output": "0.6"},
                },
                {**VLLM, "tensor_parallel": 2, "pipeline_parallel": 3, "max_num_seqs": 9, "max_surge_percent": 0},
                {
                    **VLLM,
                    "name": "adapted",
                    "autoscaling": SCALE,
                    "access": {"tenants": ["acme"], "roles": ["admin"]},
                    "loras": [
                        {"name": "tuned", "source": "file:///loras/a"},
                        {"name": "theirs", "source": "file:///loras/b", "access": {"tenants": ["acme"]}},
                    ],
                    "adapters": {"rank": 32},
                    "environment": {"VLLM_LOGGING_LEVEL": "DEBUG"},
                    "arguments": ["--enable-prefix-caching"],
                    "geometry": {"parameters": 8_000_000_000, "layers": 32, "kv_heads": 8, "head_dim": 128},
                    "full_context_requests": 2,
                },
                {
                    "engine": "app",
                    "name": "agent",
                    "object": "agents:graph",
                    "archive": "AAAA",
                    "installs": True,
                    "runs": 3,
                    "tools": ["calculator"],
                    "autoscaling": SCALE,
                },
                {"engine": "remote", "name": "far", "url": "https://a.example.com/v1/"},
                {"engine": "kserve", "name": "there", "storage": "pvc://a/b", "file": "c.gguf", "url": "http://a/"},
                {"engine": "kserve", "name": "found", "existing": "other/found"},
            ]
        },
    ),
    "who may call what": (
        {"store": STORE, "key_secret": KEY},
        {
            "models": [LLAMA],
            "aliases": [{"name": "best", "targets": [{"model": "small"}], "access": {"tenants": ["acme", "globex"]}}],
            "assistants": [{"name": "docs", "model": "best", "access": {"tenants": ["acme"], "groups": ["staff"]}}],
            "tools": [
                {
                    "kind": "http",
                    "name": "tickets",
                    "description": "x",
                    "allow": ["https://a.example.com/"],
                    "access": {"tenants": ["acme", "globex"]},
                    "headers": {"X-Stack": KEY, "Authorization": {"tenants": {"acme": KEY}}},
                },
                {
                    "kind": "mcp",
                    "name": "wiki",
                    "url": "https://wiki.example.com/mcp",
                    "headers": {"Authorization": {"tenants": {"acme": KEY, "globex": KEY}, "default": KEY}},
                },
            ],
        },
    ),
    "text as people write it": (
        {"store": STORE, "key_secret": KEY},
        {
            "models": [LLAMA],
            "aliases": [{"name": "best", "targets": [{"model": "small"}]}],
            "assistants": [
                {
                    "name": "docs",
                    "model": "best",
                    "prompt": "<b>&amp;</b> {{ .Values }} \u2028 é \"'\\\n- a: b\n",
                    "top_k": 9,
                }
            ],
        },
    ),
}


def expected(serving, catalog, **environment):
    return serve_document(
        ServingConfig.model_validate({"multiprocess_dir": METRICS, **serving}),
        Catalog.model_validate(catalog),
        host="0.0.0.0",
        port=8000,
        env={"HEADRACE_BUILD": "0.1.0", "PROMETHEUS_MULTIPROC_DIR": METRICS, **environment},
        on_pools=True,
        proxy_location="EveryNode",
    )


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_document_matches_pythons(name, render):
    serving, catalog = CONFIGURATIONS[name]
    pools = {"serving": {}, "gpu": {"gpus": 2}}
    # Over the chart's defaults: what these configurations leave out is null there.
    blank = {"bootstrap_key": None, "store": {"password": None}}
    store = {**serving["store"], "migrate": True, "password": None}
    models = catalog.get("models", [])
    values = {"serving": {**blank, **serving, "store": store}, "catalog": {"models": [], **catalog}, "pools": pools}
    rendered = render(values)
    assert rendered.document == expected({**serving, "store": store}, {**catalog, "models": models})


def test_the_document_of_full_values_matches_pythons(full):
    values = yaml.safe_load(FULL.read_text())
    wanted = expected(
        values["serving"], values["catalog"], HEADRACE_BUILD=values["build"], HEADRACE_SECRETS_REVISION="2"
    )
    assert full.document == wanted


def test_an_application_knows_its_build_by_the_image(render):
    digest = "sha256:" + "ab" * 32
    for image, build in (({"tag": "1.2.3"}, "1.2.3"), ({"digest": digest, "tag": "1.2.3"}, "ab" * 8)):
        for application in render({"image": image}).document["applications"]:
            assert application["runtime_env"]["env_vars"]["HEADRACE_BUILD"] == build


def test_dashboard_proxy_has_the_document_that_kuberay_puts(full):
    """Byte for byte: the dashboard proxy compares the document with the one that KubeRay sends."""
    mounted = full.one("ConfigMap", "-serve")["data"]["serve.json"]
    assert mounted == full.one("RayService")["spec"]["serveConfigV2"]
    [door] = [c for name, c in full.containers() if name == "head: door"]
    folder = {m["name"]: m["mountPath"] for m in door["volumeMounts"]}["serve"]
    assert f"--document={folder}/serve.json" in door["args"]
    head = dict(full.pods())["head"]
    assert {"name": "serve", "configMap": {"name": "headrace-full-serve"}} in head["spec"]["volumes"]


@pytest.mark.parametrize("autoscaling", [False, True])
def test_dashboard_proxy_waits_for_the_minimum_number_of_workers(render, autoscaling):
    pool = {"replicas": 3, "minReplicas": 2, "maxReplicas": 4}
    rendered = render(
        {"pools": {"more": pool}, "autoscaling": {"enabled": autoscaling}, "networkPolicy": {"enabled": False}}
    )
    groups = rendered.one("RayService")["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    assert len(groups) == 2
    [door] = [c for name, c in rendered.containers() if name == "head: door"]
    assert f"--workers={sum(g['minReplicas'] for g in groups)}" in door["args"]


def test_a_document_fits_into_its_config_map(render):
    assistant = {"name": "docs", "model": "smollm2", "prompt": "x" * 100_000}
    many = [{**assistant, "name": f"a{i}"} for i in range(9)]
    rendered = render({"catalog": {"assistants": many}})
    assert len(rendered.one("ConfigMap", "-serve")["data"]["serve.json"]) < 2**20


def test_other_containers_have_the_configuration_of_serve(full):
    given = json.loads(full.one("ConfigMap", "-config")["data"]["serving.json"])
    values = yaml.safe_load(FULL.read_text())["serving"]
    assert ServingConfig.model_validate(given) == ServingConfig.model_validate({**values, "multiprocess_dir": METRICS})


def test_ray_runs_with_the_settings_of_a_stack_without_kubernetes(full):
    """infra/providers/ray_head.py is the other place where Ray's environment is written."""
    source = (CHART.parents[1] / "infra" / "providers" / "ray_head.py").read_text()
    # Ports that many stacks share on one host, and what only a Ray on loopback needs.
    own = {"FALLBACK_PROXY", "DIRECT_INGRESS", "HAPROXY_STATS_PORT", "HAPROXY_BINARY_PATH"}
    names = {line.split('"')[1] for line in source.splitlines() if line.strip().startswith('"RAY_')}
    wanted = {n for n in names if not any(part in n for part in own)}
    assert wanted
    for group in ("ray-head", "ray-worker"):
        for name, container in full.containers():
            if name.endswith(group):
                assert wanted <= {e["name"] for e in container["env"]}, wanted - {e["name"] for e in container["env"]}


def test_no_log_monitor_runs_where_no_driver_has_a_terminal(full):
    """As without Kubernetes. KubeRay turns parameters into arguments, but a "false" into none."""
    cluster = full.one("RayService")["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert len(groups) > 1
    assert [group["rayStartParams"]["include-log-monitor"] for group in groups] == ["no"] * len(groups)


def test_haproxy_settings_match_the_local_target(full, tmp_path):
    given = {"token_path": str(tmp_path), "env": {}}
    without = _environment(given, RayPorts(11_000), tmp_path)
    same = [f"RAY_SERVE_HAPROXY_{name}" for name in ("RETRY_ON", "TIMEOUT_CLIENT_S", "HEALTH_CHECK_INTER")]
    same += [f"RAY_SERVE_PROXY_{check}_CHECK_TIMEOUT_S" for check in ("READY", "HEALTH")]
    for group in ("ray-head", "ray-worker"):
        containers = [container for name, container in full.containers() if name.endswith(group)]
        assert containers
        for container in containers:
            told = {e["name"]: e.get("value") for e in container["env"]}
            assert {name: told[name] for name in same} == {name: without[name] for name in same}
