"""Settings of a stack on Kubernetes, and every mistake in them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.cluster_config import MOUNTED_SECRETS
from infra.config_loader import LoadedConfig, load

IMAGE = {"digest": "sha256:" + "0" * 64}


def loaded(raw: dict[str, Any], secret: frozenset[str] = frozenset()) -> LoadedConfig:
    raw = {"target": "kubeconfig", "image": IMAGE, **raw}
    return load({k: v if isinstance(v, str) else json.dumps(v) for k, v in raw.items()}, secret, MOUNTED_SECRETS)


def mistakes(raw: dict[str, Any], secret: frozenset[str] = frozenset()) -> list[str]:
    return [str(m) for m in loaded(raw, secret).mistakes]


def test_an_image_is_all_that_a_stack_needs() -> None:
    assert mistakes({}) == []


GPU = {"name": "gpu", "gpus": 1, "cpus": 8}
VLLM = {"name": "v", "engine": "vllm", "source": "hf://a/b"}
TLS = {"secret": "t"}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"image": {}}, "headrace:image.digest: is missing; push the serving image"),
        ({"image": {"digest": "sha256:12"}}, "headrace:image.digest: 'sha256:12' is not well formed"),
        ({"ports": {"api": 8081}}, "headrace:ports: belongs to target local; this stack's is kubeconfig"),
        (
            {"cost": {"max_per_month": 100}},
            "headrace:cost: belongs to target aws, gcp or azure; this stack's is kubeconfig",
        ),
        ({"kubernetes": {"namespace": "Head"}}, "headrace:kubernetes.namespace: 'Head' is not well formed"),
        (
            {"kubernetes": {"service_type": "LoadBalancer"}},
            "headrace:kubernetes.source_ranges: is missing, and the Service is a LoadBalancer; name the networks",
        ),
        ({"pools": [{"name": "a"}]}, "headrace:gateway.pool: there is no pool 'serving'; use one of a"),
        (
            {"pools": [{"name": "serving"}, {"name": "serving"}]},
            "headrace:pools[1].name: 'serving' is already pools[0].name",
        ),
        (
            {"pools": [{"name": "serving", "cpus": 0.5}]},
            "headrace:pools[0].cpus: 1 in total is less than the",
        ),
        (
            {"pools": [{"name": "serving", "min_replicas": 1}]},
            "needs both min_replicas and max_replicas, or neither",
        ),
        ({"pools": [{"name": "serving", "accelerator": "NVIDIA-L4"}]}, "names an accelerator but has no gpus"),
        (
            {"pools": [{"name": "serving"}, GPU], "models": [VLLM], "assistants": []},
            "headrace:models[0].pool: a replica needs 1 GPU",
        ),
        ({"pools": [{"name": "serving", "volumes": [{"claim": "w", "path": "/opt"}]}]}, "has a path below /opt"),
        ({"pools": [{"name": "serving", "volumes": [{"claim": "w", "path": "/w/../opt"}]}]}, "has a path with . or .."),
        ({"addons": {"kuberay": "off"}}, "headrace:addons.kuberay: is off, but it runs Ray; use auto"),
        (
            {"addons": {"kuberay": {"existing": "k"}}},
            "headrace:addons.kuberay.namespace: is missing; set it to the namespace of the existing operator",
        ),
        ({"addons": {"kuberay": "yes"}}, "headrace:addons.kuberay"),
        ({"backup": {"key": "k"}}, "needs claim: the volume that archives are written to"),
        ({"key_secret": {"revision": 2, "previous": 2}}, "has the same number as revision and previous"),
        ({"key_secret": {"revision": 2, "previous": 1, "oldest": 2}}, "oldest is 2, but number 1 is in use"),
        (
            {"kubernetes": {"external_secret": {"store": "vault"}}},
            "headrace:kubernetes.external_secret.key: is missing; add it",
        ),
        ({"database": {"kind": "url"}}, "needs url: postgresql://user@host/database"),
        (
            {"database": {"kind": "url", "url": "postgresql://u:planted@h/d"}},
            "headrace:database.url: contains a password; move it to database.password",
        ),
        ({"database": {"kind": "url", "url": "mysql://u@h/d"}}, "headrace:database.url: is not a PostgreSQL URL"),
        ({"data": {"endpoint": "http://s3"}}, "has endpoint or credentials, which require a uri"),
        ({"data": {"uri": "az://a/c", "credentials": "s"}}, "is accessed by the pods' workload identity"),
        ({"data": {"uri": "az://container"}}, "data.uri"),
        ({"ingress": {"kind": "ingress", "tls": TLS}}, "needs host"),
        ({"ingress": {"kind": "ingress", "host": "a.b"}}, "needs tls: API keys must not travel in plain text"),
        ({"ingress": {"kind": "ingress", "host": "a.b", "tls": {}}}, "needs either secret, issuer or acme"),
        (
            {"ingress": {"kind": "ingress", "host": "a.b", "tls": {"issuer": "i"}}, "addons": {"certificates": "off"}},
            "headrace:addons.certificates: is off, but ingress.tls names an issuer",
        ),
        (
            {
                "ingress": {
                    "kind": "gateway",
                    "host": "a.b",
                    "tls": {"acme": {"email": "a@b.c"}},
                    "gateway": "edge/main",
                }
            },
            "has tls.acme, but the gateway exists",
        ),
        ({"ingress": {"kind": "ingress", "host": "a.b", "tls": {"acme": {"email": "ops"}}}}, "tls.acme.email"),
        (
            {
                "ingress": {"kind": "gateway", "host": "a.b", "tls": {"acme": {"email": "a@b.c"}}},
                "addons": {"certificates": "off"},
            },
            "headrace:addons.certificates: is off, but ingress.tls names an issuer",
        ),
        (
            {"ingress": {"kind": "gateway", "host": "a.b", "tls": TLS, "listener": "https"}},
            "has listener, which requires a gateway",
        ),
        ({"mirror": {"images": {"quay.io": "https://m"}}}, "without a scheme"),
        (
            {"target": "local", "image": {}, "pools": [{"name": "serving", "gpus": 1}]},
            "headrace:pools: belongs to target kubeconfig, onprem, aws, gcp or azure; this stack's is local",
        ),
        (
            {"target": "local", "image": {}, "cost": {"max_per_month": 100}},
            "headrace:cost: belongs to target aws, gcp or azure; this stack's is local",
        ),
        (
            {"target": "local", "image": {}, "models": [{"name": "k", "engine": "kserve", "existing": "k"}]},
            "headrace:models[0].url: is missing, and target local has no KServe",
        ),
        ({"target": "local", "image": {}, "models": [VLLM]}, "vllm needs GPUs, which target local does not have"),
    ],
)
def test_mistakes_are_reported(raw: dict[str, Any], expected: str) -> None:
    found = mistakes(raw)
    assert any(expected in m for m in found), found
    assert "planted" not in repr(found)


@pytest.mark.parametrize(("surge", "enough"), [(0, 8), (50, 16), (100, 16)])
def test_a_pool_needs_cpus_for_as_many_replicas_as_an_update_may_add(surge: int, enough: int) -> None:
    model = {**VLLM, "pool": "gpu", "cpus": 8, "max_surge_percent": surge}

    def found(cpus: float) -> list[str]:
        pools = [{"name": "serving"}, {**GPU, "cpus": cpus, "gpus": 2}]
        return [m for m in mistakes({"models": [model], "assistants": [], "pools": pools}) if "pools[1].cpus" in m]

    assert not found(enough)
    assert "need during an update" in found(enough - 1)[0]


REMOTE = {"name": "m", "engine": "remote", "url": "https://a/v1"}
KSERVE = {"name": "m", "engine": "kserve", "existing": "k"}
ISSUER = {"name": "i", "issuer": "https://i/", "client_id": "c", "tenant": "acme"}


SECRETS = pytest.mark.parametrize(
    ("settings", "at"),
    [
        ({"models": [{**REMOTE, "api_key": {}}]}, "models[0].api_key"),
        ({"models": [{**KSERVE, "api_key": {}}]}, "models[0].api_key"),
        ({"models": [{**VLLM, "token": {}}]}, "models[0].token"),
        ({"database": {"kind": "url", "url": "postgresql://u@h/d", "password": {}}}, "database.password"),
        ({"oidc": {"issuers": [{**ISSUER, "client_secret": {}}]}}, "oidc.issuers[0].client_secret"),
    ],
    ids=["remote", "kserve", "vllm", "database", "issuer"],
)


@SECRETS
def test_a_secret_in_place_of_its_reference_is_not_repeated(settings: dict[str, Any], at: str) -> None:
    raw = json.loads(json.dumps(settings).replace("{}", '{"ref": "planted"}'))
    found = mistakes(raw)
    assert any(m.startswith(f"headrace:{at}.ref: is not well formed") for m in found), found
    assert "planted" not in repr(found)


@pytest.mark.parametrize("ref", ["env:KEY", "file:/home/me/key"])
@SECRETS
def test_a_secret_that_pods_cannot_read_is_refused(settings: dict[str, Any], at: str, ref: str) -> None:
    raw = json.loads(json.dumps(settings).replace("{}", json.dumps({"ref": ref})))
    problem = (
        "environment variables do not reach pods"
        if ref == "env:KEY"
        else "refers to a file that does not exist in pods"
    )
    fix = f"use `pulumi config set --secret --path 'headrace:{at}'`"
    assert f"headrace:{at}.ref: {problem}; {fix}" in mistakes({"assistants": [], **raw})


def test_secrets_become_files_that_pods_have() -> None:
    database = {"kind": "url", "url": "postgresql://u@h/d", "password": "planted"}
    kubeconfig = "a: 1\nb: 2\n"
    found = loaded(
        {"database": database, "kubernetes": {"kubeconfig": kubeconfig}}, frozenset({"database", "kubernetes"})
    )
    assert not found.mistakes
    assert found.config.database.password is not None
    assert found.config.database.password.ref == f"file:{MOUNTED_SECRETS}/database-password"
    assert found.config.kubernetes.kubeconfig == ""
    assert {k: v.get_secret_value() for k, v in found.secrets.items()} == {
        "database-password": "planted",
        "kubeconfig": kubeconfig,
    }


def test_a_secret_in_plain_text_is_refused() -> None:
    database = {"kind": "url", "url": "postgresql://u@h/d", "password": "planted"}
    assert mistakes({"database": database, "kubernetes": {"kubeconfig": "a: 1\nb: 2\n"}}) == [
        "headrace:kubernetes.kubeconfig: is in plain text; replace it by `pulumi config set --secret --path"
        " 'headrace:kubernetes.kubeconfig'`",
        "headrace:database.password: is in plain text; replace it by `pulumi config set --secret --path"
        " 'headrace:database.password'`",
    ]


def test_a_path_is_no_secret() -> None:
    found = loaded({"kubernetes": {"kubeconfig": "~/.kube/config"}})
    assert not found.mistakes
    assert found.config.kubernetes.kubeconfig == "~/.kube/config"
