from pathlib import Path
from typing import Any

import pytest

from infra import chart
from infra.config import StackConfig
from infra.policies.catalogue import evaluate_manifests

DIGEST = "sha256:" + "01" * 32
IMAGE = {"registry": "r.example.com", "digest": DIGEST}


def config(**settings: Any) -> StackConfig:
    return StackConfig.model_validate({"target": "kubeconfig", "image": IMAGE, "knowledge": [], **settings})


def values(tmp_path: Path, **settings: Any) -> dict[str, Any]:
    return chart.values(config(**settings), "s", tmp_path, {})


def test_a_digest_wins_over_a_tag() -> None:
    assert (
        chart.image_reference(config(image={**IMAGE, "tag": "1"}).image) == f"r.example.com/headrace/serving@{DIGEST}"
    )
    assert chart.image_reference(config(image={"tag": "1"}).image) == "headrace/serving:1"


def test_values_contain_no_secrets(tmp_path: Path) -> None:
    secrets = {"existingSecret": "s", "bucketCredentials": {"secret": ""}, "revision": "1"}
    assert values(tmp_path)["secrets"] == secrets
    data = {"uri": "s3://bucket/prefix", "credentials": "keys"}
    assert values(tmp_path, data=data)["secrets"] == {**secrets, "bucketCredentials": {"secret": "keys"}}
    serving = values(tmp_path)["serving"]
    for reference in (serving["key_secret"], serving["bootstrap_key"], serving["store"]["password"]):
        assert reference["ref"].startswith("file:/etc/headrace/secrets/")


def test_secrets_come_from_a_store(tmp_path: Path) -> None:
    external = {"store": "vault", "key": "apps/headrace", "refresh_interval": "15m"}
    found = values(tmp_path, kubernetes={"external_secret": external, "key_revision": 3})["secrets"]
    assert found == {
        "externalSecret": {
            "store": "vault",
            "storeKind": "ClusterSecretStore",
            "key": "apps/headrace",
            "refreshInterval": "15m",
        },
        "databasePassword": {"secret": "headrace-db-owner", "key": "password"},
        "bucketCredentials": {"secret": ""},
        "revision": "3",
    }
    database = {"kind": "url", "url": "postgresql://h@db/h"}
    assert "databasePassword" not in values(
        tmp_path, kubernetes={"external_secret": external}, database=database
    )["secrets"]  # fmt: skip


def test_the_key_secret_changes_by_numbers(tmp_path: Path) -> None:
    def told(**numbers: int) -> tuple[str, str | None]:
        serving = values(tmp_path, key_secret=numbers)["serving"]
        return serving["key_secret"]["ref"], serving.get("key_secret_previous", {}).get("ref")

    first, second = "file:/etc/headrace/secrets/key-secret", "file:/etc/headrace/secrets/key-secret-2"
    assert told() == (first, None)
    assert told(previous=2) == (first, second)
    assert told(revision=2, previous=1) == (second, first)
    assert told(revision=2) == (second, None)


def test_backups_are_made_where_there_is_a_volume(tmp_path: Path) -> None:
    assert "backup" not in values(tmp_path)
    assert values(tmp_path, backup={"claim": "archives", "key": "backup-key"})["backup"] == {
        "enabled": True,
        "schedule": "15 3 * * *",
        "timeZone": "Etc/UTC",
        "existingClaim": "archives",
        "key": {"secret": "backup-key", "key": "key"},
    }


def test_the_schema_is_migrated_by_a_job_alone(tmp_path: Path) -> None:
    assert values(tmp_path)["serving"]["store"]["migrate"] is False


def test_volumes_are_not_retained_after_a_destroy(tmp_path: Path) -> None:
    assert values(tmp_path)["persistence"]["retain"] is False


def test_the_url_is_that_of_the_ingress_or_the_service() -> None:
    assert chart.url(config()) == "http://headrace-serve-svc.headrace.svc:8000"
    ingress = {"kind": "ingress", "host": "a.example.com", "tls": {"secret": "t"}}
    assert chart.url(config(ingress=ingress)) == "https://a.example.com"


@pytest.mark.parametrize(
    ("settings", "parent"),
    [
        ({"gateway": "infra/gw"}, {"name": "gw", "namespace": "infra", "sectionName": "https"}),
        ({"gateway": "gw", "listener": "tls.example"}, {"name": "gw", "sectionName": "tls.example"}),
    ],
)
def test_a_route_requires_an_existing_listener_and_gateway(
    settings: dict[str, Any], parent: dict[str, str], tmp_path: Path
) -> None:
    route = values(tmp_path, ingress={"kind": "gateway", "host": "a.example.com", **settings})["httpRoute"]
    assert route["parentRefs"] == [parent]
    spec = {"parentRefs": route["parentRefs"], "hostnames": route["hosts"]}
    kind = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r"}}
    assert [str(v) for v in evaluate_manifests([{**kind, "spec": spec}]) if v.rule.name == "route-tls"] == []


def test_documents_travel_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("A")
    (tmp_path / "docs" / "empty.md").write_text("")
    [collection] = values(tmp_path, knowledge=[{"name": "k", "paths": ["docs"]}])["knowledge"]
    assert collection == {"name": "k", "files": {"docs/a.md": "QQ=="}}


def test_a_document_that_is_too_large_is_named(tmp_path: Path) -> None:
    (tmp_path / "big.md").write_text("x" * (chart.DOCUMENT_BYTES + 1))
    [found] = chart.mistakes(config(knowledge=[{"name": "k", "paths": ["big.md"]}]), tmp_path)
    assert str(found).startswith("headrace:knowledge[0].paths: big.md has 900 KiB, more than the 900 of a")


def test_empty_documents_are_no_collection(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("")
    [found] = chart.mistakes(config(knowledge=[{"name": "k", "paths": ["a.md"]}]), tmp_path)
    assert "matches empty files only" in str(found)


KEY_TOO = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----BEGIN PRIVATE KEY-----\n"
ISSUER = {"name": "main", "issuer": "https://id.example.com", "client_id": "headrace", "tenant": "acme"}
INGRESS = {"kind": "ingress", "host": "a.example.com", "tls": {"secret": "t"}}


def test_an_authoritys_certificate_travels_with_its_issuer(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(f"{chart.BEGIN}\nAAAA\n")
    made = values(tmp_path, oidc={"issuers": [{**ISSUER, "tls_ca": str(file)}]}, ingress=INGRESS)
    [issuer] = made["serving"]["oidc"]["issuers"]
    folder, _, name = issuer["tls_ca"].rpartition("/")
    assert (folder, made["certificates"]) == ("/etc/headrace/certificates", {name: file.read_text()})
    file.write_text(f"{chart.BEGIN}\nBBBB\n")
    again = values(tmp_path, oidc={"issuers": [{**ISSUER, "tls_ca": str(file)}]}, ingress=INGRESS)
    assert name not in again["certificates"]
    assert "certificates" not in values(tmp_path, oidc={"issuers": [ISSUER]}, ingress=INGRESS)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "cannot be read"), (b"AAAA", "no PEM certificate"), (b"\xff", "not text"), (KEY_TOO, "private key")],
)
def test_a_certificate_that_cannot_travel(tmp_path: Path, content: bytes | None, problem: str) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    settings = config(oidc={"issuers": [{**ISSUER, "tls_ca": str(file)}]}, ingress=INGRESS)
    [mistake] = chart.mistakes(settings, tmp_path)
    assert mistake.key == "oidc.issuers[0].tls_ca"
    assert problem in mistake.problem


def test_digests_of_the_examples_are_placeholders(tmp_path: Path) -> None:
    of_pool = {"registry": "r.example.com", "digest": f"sha256:{'1' * 64}"}
    settings = config(image={**IMAGE, "digest": f"sha256:{'0' * 64}"}, pools=[{"name": "serving", "image": of_pool}])
    found = chart.mistakes(settings, tmp_path)
    assert [m.key for m in found] == ["image.digest", "pools[0].image.digest"]
    assert "push" in found[0].fix


def test_annotations_are_added_to_an_ingress_or_to_what_a_gateway_makes(tmp_path: Path) -> None:
    """A cloud reads those of a Service, which the Gateway's controller makes with what the Gateway passes on."""
    ingress = {"kind": "ingress", "host": "a.b", "tls": {"issuer": "i"}, "annotations": {"nginx.org/x": "1"}}
    said = {"nginx.org/x": "1", "cert-manager.io/cluster-issuer": "i"}
    assert values(tmp_path, ingress=ingress)["ingress"]["annotations"] == said
    lasting = {"cert-manager.io/duration": "720h"}
    gateway = {**ingress, "kind": "gateway", "annotations": {**ingress["annotations"], **lasting}}
    made = values(tmp_path, ingress=gateway)["httpRoute"]["gateway"]
    assert made["annotations"] == {"cert-manager.io/cluster-issuer": "i", **lasting}
    assert made["infrastructure"] == {"annotations": {"nginx.org/x": "1"}}
    many = {f"example.com/{i}": "1" for i in range(8)}
    assert len(config(ingress={**gateway, "annotations": many | lasting}).ingress.infrastructure_annotations) == 8
    with pytest.raises(ValueError, match="more than 8 annotations"):
        config(ingress={**gateway, "annotations": {**many, "example.com/8": "1"}})
    with pytest.raises(ValueError, match="has annotations, but the gateway exists"):
        config(ingress={**gateway, "gateway": "edge/main", "tls": None})


def test_an_issuer_of_the_stack_is_named_and_asked_at_port_80(tmp_path: Path) -> None:
    acme = {"host": "a.b", "tls": {"acme": {"email": "ops@example.com"}}}
    made = values(tmp_path, ingress={"kind": "gateway", **acme})["httpRoute"]["gateway"]
    assert (made["annotations"], made["redirect"]) == ({"cert-manager.io/issuer": "headrace-acme"}, True)
    assert made["tlsSecret"] == chart.TLS_SECRET
    other = values(tmp_path, ingress={"kind": "gateway", "host": "a.b", "tls": {"issuer": "i"}})["httpRoute"]["gateway"]
    assert not other["redirect"]
    controller = values(tmp_path, ingress={"kind": "ingress", **acme})["ingress"]
    assert controller["annotations"] == {"cert-manager.io/issuer": "headrace-acme"}


def test_ray_scales_only_pools_with_bounds(tmp_path: Path) -> None:
    """The chart's default bounds, 0 and 8, would apply to the others too."""
    fixed, scaled = {"name": "serving", "replicas": 2}, {"name": "more", "min_replicas": 0, "max_replicas": 3}
    pools = values(tmp_path, pools=[fixed, scaled])["pools"]
    bounds = {name: (pool["minReplicas"], pool["maxReplicas"]) for name, pool in pools.items()}
    assert bounds == {"serving": (2, 2), "more": (0, 3)}
    assert "maxReplicas" not in values(tmp_path, pools=[fixed])["pools"]["serving"]


def test_pods_mount_volumes_of_yours(tmp_path: Path) -> None:
    pool = {"name": "serving", "volumes": [{"claim": "weights", "path": "/weights"}]}
    found = values(tmp_path, pools=[pool])["pools"]["serving"]
    claim = {"claimName": "weights", "readOnly": True}
    assert found["volumes"] == [{"name": "claim-0", "persistentVolumeClaim": claim}]
    assert found["volumeMounts"] == [{"name": "claim-0", "mountPath": "/weights", "readOnly": True}]
    assert "volumes" not in values(tmp_path, pools=[{"name": "serving"}])["pools"]["serving"]


def test_pods_mount_the_files_of_an_image(tmp_path: Path) -> None:
    image = f"registry.example.com/llama@sha256:{'1' * 64}"
    pool = {"name": "serving", "volumes": [{"image": image, "path": "/weights"}]}
    mirror = {"images": {"registry.example.com": "mirror.example.com/r"}}
    found = values(tmp_path, pools=[pool], mirror=mirror)["pools"]["serving"]
    reference = image.replace("registry.example.com", "mirror.example.com/r")
    assert found["volumes"] == [{"name": "image-0", "image": {"reference": reference, "pullPolicy": "IfNotPresent"}}]
    for wrong, message in (
        ({"image": image, "claim": "c"}, "needs either claim or image"),
        ({}, "needs either claim or image"),
        ({"image": image, "read_only": False}, "cannot be written to"),
        ({"image": "registry.example.com/llama:1"}, "pattern"),
    ):
        with pytest.raises(ValueError, match=message):
            config(pools=[{"name": "serving", "volumes": [{"path": "/weights", **wrong}]}])


@pytest.mark.parametrize("path", ["/tmp", "/var/lib/headrace", "weights", "/etc/headrace/secrets"])
def test_a_volume_hides_nothing_of_headraces(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        config(pools=[{"name": "serving", "volumes": [{"claim": "weights", "path": path}]}])


def test_a_path_has_one_volume() -> None:
    volumes = [{"claim": claim, "path": "/weights"} for claim in ("a", "b")]
    with pytest.raises(ValueError, match="two volumes at one path"):
        config(pools=[{"name": "serving", "volumes": volumes}])
