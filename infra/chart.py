"""StackConfig -> values of charts/headrace. Pure functions: the files of knowledge are read, nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra import application, documents, kserve, network
from infra.addons import gateway, kuberay, monitoring, postgres
from infra.cluster_config import Image, Pool
from infra.config import StackConfig
from infra.config_loader import DATABASE_PASSWORD
from infra.mistakes import Mistake
from infra.targets.provisioned import Provisioned
from infra.targets.secrets import API_KEY, key_secret, reference
from infra.volumes import CONTROL_STATE
from serving.config import Store

Values = dict[str, Any]

RELEASE = "headrace"
LABELS = {
    "app.kubernetes.io/name": "headrace",
    "app.kubernetes.io/instance": RELEASE,
    "app.kubernetes.io/part-of": "headrace",
    "app.kubernetes.io/managed-by": "pulumi",
}
"""On objects beside the chart's own."""

DATA = "/var/lib/headrace"
CERTIFICATES = "/etc/headrace/certificates"
BEGIN = "-----BEGIN CERTIFICATE-----"
TLS_SECRET = "headrace-tls"  # noqa: S105 (a name)

DOCUMENT_BYTES = 900 * 1024
"""A ConfigMap holds a mebibyte, and a document must lie in one."""

DOCUMENTS_BYTES = 16 * 1024 * 1024
"""Of all collections: more has no place in etcd."""


def url(config: StackConfig) -> str:
    """Where the API answers: its host, or the Service inside the cluster."""
    if config.ingress.host:
        return f"https://{config.ingress.host}"
    return f"http://{RELEASE}-serve-svc.{config.kubernetes.namespace}.svc:8000"


def store(config: StackConfig) -> Store:
    """Where state lives. A Job migrates the schema, before replicas of a new version serve."""
    database = config.database
    return Store(
        database=_database(config),
        password=reference(DATABASE_PASSWORD) if database.kind == "cloudnativepg" else database.password,
        migrate=False,
        data=config.data.uri or DATA,
        endpoint=config.data.endpoint or None,
    )


def _database(config: StackConfig) -> str:
    return config.database.url or postgres.url(config)


def image(named: Image) -> str:
    """An image as the cluster pulls it."""
    name = f"{named.registry}/{named.repository}".lstrip("/")
    return f"{name}@{named.digest}" if named.digest else f"{name}:{named.tag}"


def values(
    config: StackConfig, secret: str, checkout: Path, urls: Mapping[str, Any], made: Provisioned | None = None
) -> Values:
    """Values of the chart; `secret` is the Secret that holds the stack's secrets, `made` a cluster that the stack made.

    `urls` are the addresses of KServe's models by name: what is given is passed on, never looked at.
    """
    serving = application.serving(
        config,
        store=store(config),
        key_secret=lambda number: reference(key_secret(number)),
        api_key=reference(API_KEY),
        multiprocess_dir=None,
        url=url(config) if config.ingress.host else "",
    )
    monitored = monitoring.MONITORING.choice(config) != "off"
    said, certificates = _certificates(serving.model_dump(mode="json", exclude_none=True))
    return {
        "image": {**_image(config.image), "pullSecrets": list(config.image.pull_secrets)},
        "serving": said,
        **({"certificates": certificates} if certificates else {}),
        "catalog": kserve.with_urls(application.catalog(config).model_dump(mode="json", exclude_none=True), urls),
        "knowledge": knowledge(config, checkout),
        "secrets": _secrets(config, secret),
        "pools": {pool.name: _pool(pool) for pool in config.pools},
        "head": {"gcs": {"rocksdb": {"size": CONTROL_STATE, "storageClass": config.kubernetes.storage_class}}},
        "autoscaling": {"enabled": any(pool.max_replicas for pool in config.pools)},
        "persistence": {
            "retain": False,  # `pulumi destroy` leaves nothing
            "data": {
                "size": config.data.storage,
                "storageClass": config.data.storage_class or config.kubernetes.storage_class,
                "accessMode": config.data.access_mode,
            },
        },
        "service": {
            "type": config.kubernetes.service_type,
            "sourceRanges": [str(r) for r in config.kubernetes.source_ranges],
        },
        **_entry(config),
        **(_identity(made) if made else {}),
        **_backup(config),
        "networkPolicy": network.peers(config, kuberay.KUBERAY, monitoring.MONITORING, made.identity if made else ()),
        # Said, not detected: a preview knows the cluster without the add-ons that `up` brings.
        "monitoring": {
            "podMonitor": {"enabled": monitored},
            "rules": {
                "enabled": monitored,
                "engineNamespaces": sorted({kserve.namespace_of(m, "") for m in kserve.models(config)} - {""}),
            },
            "dashboards": {"enabled": monitored},
        },
    }


def _certificates(serving: Values) -> tuple[Values, dict[str, str]]:
    """The configuration with the authorities' certificates where pods find them, and their content by file name."""
    content = {}
    for issuer in (serving.get("oidc") or {}).get("issuers", ()):
        if file := issuer.get("tls_ca"):
            text = Path(file).read_text()
            # Replicas read it when they start: another certificate has another name, which starts others.
            name = f"issuer-{issuer['name']}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.pem"
            content[name] = text
            issuer["tls_ca"] = f"{CERTIFICATES}/{name}"
    return serving, content


def _image(image: Image) -> Values:
    given = image.model_dump(include={"registry", "repository", "tag", "digest"})
    return {**{k: v for k, v in given.items() if v}, "pullPolicy": image.pull_policy}


def _secrets(config: StackConfig, secret: str) -> Values:
    """The Secret that the stack makes, or the entry of a store that one is made of."""
    external = config.kubernetes.external_secret
    values: Values = {
        "bucketCredentials": {"secret": config.data.credentials},
        "revision": str(config.kubernetes.key_revision),
    }
    if external is None:
        return {"existingSecret": secret, **values}
    values["externalSecret"] = {
        "store": external.store,
        "storeKind": external.store_kind,
        "key": external.key,
        "refreshInterval": external.refresh_interval,
    }
    if config.database.kind == "cloudnativepg":  # its owner's password is the stack's own
        values["databasePassword"] = {"secret": postgres.OWNER_SECRET, "key": "password"}
    return values


def _backup(config: StackConfig) -> Values:
    backup = config.backup
    if not backup.claim:
        return {}
    return {
        "backup": {
            "enabled": True,
            "schedule": backup.schedule,
            "timeZone": backup.time_zone,
            "existingClaim": backup.claim,
            "key": {"secret": backup.key, "key": "key"},
        }
    }


def _pool(pool: Pool) -> Values:
    limits = {"cpu": f"{pool.cpus:g}", "memory": pool.memory}
    requests = limits | {"cpu": f"{pool.reserved_cpus or pool.cpus:g}"}
    bounds = {"minReplicas": pool.min_replicas, "maxReplicas": pool.max_replicas}
    return {
        "replicas": pool.replicas,
        **{k: v for k, v in bounds.items() if v is not None},
        "gpus": pool.gpus,
        "resources": {"requests": requests, "limits": limits},
        "nodeSelector": pool.selector,
        "tolerations": [t.model_dump(exclude_defaults=True) | {"operator": t.operator} for t in pool.tolerations],
        **({"image": _image(pool.image)} if pool.image else {}),
    }


def _identity(made: Provisioned) -> Values:
    """By which pods that use the bucket are known to the cloud."""
    annotations = dict(made.service_account_annotations)
    return {
        "serviceAccounts": {account: {"annotations": annotations} for account in ("worker", "jobs")},
        "commonLabels": dict(made.pod_labels),
    }


def _entry(config: StackConfig) -> Values:
    """Ingress or Gateway API route, always with TLS: API keys must not travel in plain text."""
    ingress = config.ingress
    tls = ingress.tls
    annotations = {"cert-manager.io/cluster-issuer": tls.issuer} if tls and tls.issuer else {}
    secret = (tls.secret or TLS_SECRET) if tls else ""
    if ingress.kind == "ingress":
        return {
            "ingress": {
                "enabled": True,
                "className": ingress.class_name,
                "host": ingress.host,
                "tlsSecret": secret,
                "annotations": annotations,
            }
        }
    if ingress.kind == "gateway":
        namespace, _, name = ingress.gateway.rpartition("/")
        made = {
            "create": True,
            "className": ingress.class_name or gateway.CLASS,
            "tlsSecret": secret,
            "annotations": annotations,
        }
        parent = {"name": name, **({"namespace": namespace} if namespace else {}), "sectionName": ingress.listener}
        there = {"parentRefs": [parent]} if name else {"gateway": made}
        return {"httpRoute": {"enabled": True, "hosts": [ingress.host], **there}}
    return {}


def knowledge(config: StackConfig, checkout: Path) -> list[Values]:
    """Collections with their documents in base64, by relative path. Empty files hold nothing to find."""
    collections = []
    for collection in config.knowledge:
        found = documents.documents(checkout, collection.paths)
        contents = {name: (checkout / name).read_bytes() for name in found}
        files = {n.lstrip("/"): base64.b64encode(c).decode() for n, c in contents.items() if c}
        collections.append({"name": collection.name, "files": files})
    return collections


def _unread_certificates(config: StackConfig) -> Iterator[Mistake]:
    for i, issuer in enumerate(config.oidc.issuers):
        if not issuer.tls_ca:
            continue
        key = f"oidc.issuers[{i}].tls_ca"
        try:
            text = Path(issuer.tls_ca).read_text()
            if BEGIN not in text:
                yield Mistake(key, f"{issuer.tls_ca} has no certificate in PEM", "name a file that has one")
            if "PRIVATE KEY-----" in text:  # a ConfigMap is no place for it
                yield Mistake(key, f"{issuer.tls_ca} has a private key in it", "name a file with certificates alone")
        except (OSError, UnicodeDecodeError) as e:
            problem = getattr(e, "strerror", None) or "it is no text"
            yield Mistake(
                key, f"{issuer.tls_ca} cannot be read: {problem}", "name a file on this host; pods get a copy"
            )


def mistakes(config: StackConfig, checkout: Path) -> list[Mistake]:
    """Documents that cannot travel into the cluster as ConfigMaps, and tools that would read the stack's database."""
    found = application.own_database(config, _database(config))
    found += _unread_certificates(config)
    total = 0
    fix = "leave it out, and upload it through the files API"
    for i, collection in enumerate(config.knowledge):
        try:
            names = documents.documents(checkout, collection.paths)
        except LookupError:
            continue  # said by documents.mistakes
        sizes = {name: (checkout / name).stat().st_size for name in names}
        total += sum(sizes.values())
        if not any(sizes.values()):
            found.append(Mistake(f"knowledge[{i}].paths", "holds empty files alone", "name documents"))
        for name, size in sizes.items():
            if size > DOCUMENT_BYTES:
                problem = f"{name} has {size / 1024:.0f} KiB, and a ConfigMap takes {DOCUMENT_BYTES // 1024}"
                found.append(Mistake(f"knowledge[{i}].paths", problem, fix))
    if total > DOCUMENTS_BYTES:
        problem = f"its documents have {total / 2**20:.0f} MiB, and {DOCUMENTS_BYTES >> 20} travel as ConfigMaps"
        found.append(Mistake("knowledge", problem, "leave some out, and upload them through the files API"))
    return found
