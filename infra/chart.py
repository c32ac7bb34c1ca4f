"""Converts StackConfig to the values of charts/headrace. Reads documents and certificates, and nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra import application, documents, edge, kserve, network
from infra.addons import gateway, kuberay, monitoring, postgres
from infra.alerts import rules as own_rules
from infra.cluster_config import Image, Pool, PoolVolume
from infra.config import StackConfig
from infra.config_loader import DATABASE_PASSWORD
from infra.gpu import weights
from infra.mistakes import Mistake
from infra.resources.provisioned_cluster import Entrance, ProvisionedCluster
from infra.scheduling import starts, upgrade
from infra.stack_secrets import API_KEY, key_secret_name, secret_reference
from infra.volumes import CONTROL_STATE
from monitoring.addresses import Addresses
from monitoring.rules_file import document
from monitoring.scope import Scope, restrict_groups
from serving.config import Store

Values = dict[str, Any]

RELEASE = "headrace"
OBJECT_LABELS = {
    "app.kubernetes.io/name": "headrace",
    "app.kubernetes.io/instance": RELEASE,
    "app.kubernetes.io/part-of": "headrace",
    "app.kubernetes.io/managed-by": "pulumi",
}
"""Labels of the stack's objects that are not part of the chart."""

DATA = "/var/lib/headrace"
CERTIFICATES = "/etc/headrace/certificates"
BEGIN = "-----BEGIN CERTIFICATE-----"
TLS_SECRET = "headrace-tls"  # noqa: S105 (a name)

DOCUMENT_BYTES = 900 * 1024
"""Largest document: it must fit into one ConfigMap, which holds a mebibyte."""

DOCUMENTS_BYTES = 16 * 1024 * 1024
"""Largest total size of all collections, to spare etcd."""


def url(config: StackConfig) -> str:
    """Returns the API's URL: that of its host, or of the Service inside the cluster."""
    if config.ingress.host:
        return f"https://{config.ingress.host}"
    return f"http://{RELEASE}-serve-svc.{config.kubernetes.namespace}.svc:8000"


def store(config: StackConfig) -> Store:
    """Returns the settings of database and data. A Job migrates the schema before a new version serves."""
    database = config.database
    return Store(
        database=_database_url(config),
        password=secret_reference(DATABASE_PASSWORD) if database.kind == "cloudnativepg" else database.password,
        migrate=False,
        data=config.data.uri or DATA,
        endpoint=config.data.endpoint or None,
    )


def _database_url(config: StackConfig) -> str:
    return config.database.url or postgres.url(config)


def image_reference(named: Image) -> str:
    """Returns the reference under which the cluster pulls an image."""
    name = f"{named.registry}/{named.repository}".lstrip("/")
    return f"{name}@{named.digest}" if named.digest else f"{name}:{named.tag}"


def values(
    config: StackConfig,
    secret: str,
    checkout: Path,
    urls: Mapping[str, Any],
    provisioned: ProvisionedCluster | None = None,
) -> Values:
    """Returns the chart's values.

    `secret` is the name of the Secret with the stack's secrets, `provisioned` the cluster if the stack created it.
    `urls` are the addresses of KServe's models by name; they can be outputs and are passed through.
    """
    serving = application.serving_config(
        config,
        store=store(config),
        key_secret=lambda number: secret_reference(key_secret_name(number)),
        api_key=secret_reference(API_KEY),
        multiprocess_dir=None,
        url=url(config) if config.ingress.host else "",
        prometheus=monitoring.prometheus(config),
    )
    monitored = monitoring.MONITORING.choice(config) != "off"
    engines = sorted({kserve.service_namespace(m, "") for m in kserve.kserve_models(config)} - {""})
    serving_values, certificates = _certificates(serving.model_dump(mode="json", exclude_none=True))
    return {
        "image": {**_image_values(config.image), "pullSecrets": list(config.image.pull_secrets)},
        "serving": serving_values,
        **({"certificates": certificates} if certificates else {}),
        "catalog": kserve.with_urls(
            application.catalog(config, checkout).model_dump(mode="json", exclude_none=True), urls
        ),
        "knowledge": knowledge_values(config, checkout),
        "secrets": _secret_values(config, secret),
        "pools": {pool.name: _pool_values(config, pool) for pool in config.pools},
        "upgradeStrategy": {"surge": "NewCluster", "in_place": "None"}[upgrade.strategy(config)],
        "head": {"gcs": {"rocksdb": {"size": CONTROL_STATE, "storageClass": config.kubernetes.storage_class}}},
        "autoscaling": {"enabled": config.autoscaled},
        "migrate": {"deadlineSeconds": starts.job_seconds(config)},
        "persistence": {
            "retain": False,  # `pulumi destroy` deletes the volumes too
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
        **_ingress_values(config, provisioned.entrance if provisioned else Entrance()),
        **(_identity_values(provisioned) if provisioned else {}),
        **_backup_values(config),
        "networkPolicy": network.policy_values(
            config,
            kuberay.KUBERAY,
            monitoring.MONITORING,
            *((provisioned.identity, provisioned.dns) if provisioned else ()),
        ),
        # Set, not detected: during a preview the cluster does not have the add-ons yet that `up` installs.
        "monitoring": {
            "podMonitor": {"enabled": monitored},
            "rules": {
                "enabled": monitored,
                "engineNamespaces": engines,
                "own": _own_rules(config, engines),
            },
            "links": config.links.model_dump(),
            "dashboards": {"enabled": monitored},
        },
    }


def _own_rules(config: StackConfig, engines: Sequence[str]) -> list[Values]:
    """Returns the groups of the stack's own rules, which read the series of its own namespace and its engines'."""
    groups = own_rules.groups(config.alerts, config.objectives)
    namespace = config.kubernetes.namespace
    scope = Scope(namespace, "|".join((namespace, "", *engines)))
    to = Addresses(config.links.runbooks.rstrip("/"), config.links.grafana.rstrip("/"))
    found: list[Values] = document(restrict_groups(groups, scope, own_rules.known(groups)), to)["groups"]
    return found


def _certificates(serving: Values) -> tuple[Values, dict[str, str]]:
    """Returns the configuration with the paths of CA certificates in pods, and the certificates by file name."""
    content = {}
    for issuer in (serving.get("oidc") or {}).get("issuers", ()):
        if file := issuer.get("tls_ca"):
            text = Path(file).read_text()
            # Replicas read it when they start. The digest in the name restarts them when the certificate changes.
            name = f"issuer-{issuer['name']}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.pem"
            content[name] = text
            issuer["tls_ca"] = f"{CERTIFICATES}/{name}"
    return serving, content


def _image_values(image: Image) -> Values:
    values = image.model_dump(include={"registry", "repository", "tag", "digest"})
    return {**{k: v for k, v in values.items() if v}, "pullPolicy": image.pull_policy}


def _secret_values(config: StackConfig, secret: str) -> Values:
    """Returns the values for the stack's own Secret, or for an ExternalSecret."""
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
    if config.database.kind == "cloudnativepg":  # the stack generates the owner's password itself
        values["databasePassword"] = {"secret": postgres.OWNER_SECRET, "key": "password"}
    return values


def _backup_values(config: StackConfig) -> Values:
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


def _pool_values(config: StackConfig, pool: Pool) -> Values:
    limits = {"cpu": f"{pool.cpus:g}", "memory": pool.memory}
    requests = limits | {"cpu": f"{pool.reserved_cpus or pool.cpus:g}"}
    storage = weights.temporary_storage(config, pool)
    if storage:  # requested, so that the pod is placed where the disk has it
        requests["ephemeral-storage"] = storage
    return {
        "replicas": pool.replicas,
        **(_bounds(pool) if config.autoscaled else {}),
        "gpus": pool.gpus,
        "resources": {"requests": requests, "limits": limits},
        **({"temporaryStorage": storage} if storage else {}),
        "nodeSelector": pool.selector,
        "tolerations": [t.model_dump(exclude_defaults=True) | {"operator": t.operator} for t in pool.tolerations],
        **({"image": _image_values(pool.image)} if pool.image else {}),
        **_weights_values(config, pool),
        **_volume_values(config, pool),
    }


def _bounds(pool: Pool) -> Values:
    """Returns between which sizes Ray's autoscaler may scale a pool. It sees all pools, also those of a fixed size."""
    if pool.max_replicas is None:
        return {"minReplicas": pool.replicas, "maxReplicas": max(pool.replicas, 1)}  # 0 is not allowed
    return {"minReplicas": pool.min_replicas, "maxReplicas": pool.max_replicas}


def _weights_values(config: StackConfig, pool: Pool) -> Values:
    if pool.weights is None:
        return {}
    volume = pool.weights
    values: Values = {"kind": volume.kind, "size": weights.volume_size(config, pool)}
    if volume.kind == "node":
        values["nodePath"] = volume.path
    elif volume.claim:
        values = {"kind": volume.kind, "existingClaim": volume.claim}
    else:
        values["storageClass"] = volume.storage_class or config.kubernetes.storage_class
        values |= {"accessMode": volume.access_mode} if volume.kind == "claim" else {}
    return {"weights": values}


def _volume_values(config: StackConfig, pool: Pool) -> Values:
    if not pool.volumes:
        return {}
    named = {f"{'claim' if v.claim else 'image'}-{i}": v for i, v in enumerate(pool.volumes)}

    def source(volume: PoolVolume) -> Values:
        if volume.image:
            return {"image": {"reference": config.mirror.image(volume.image), "pullPolicy": "IfNotPresent"}}
        return {"persistentVolumeClaim": {"claimName": volume.claim, "readOnly": volume.read_only}}

    return {
        "volumes": [{"name": name, **source(volume)} for name, volume in named.items()],
        "volumeMounts": [{"name": name, "mountPath": v.path, "readOnly": v.read_only} for name, v in named.items()],
    }


def _identity_values(provisioned: ProvisionedCluster) -> Values:
    """Returns the annotations and labels that give pods their cloud identity, which may use the bucket."""
    annotations = dict(provisioned.service_account_annotations)
    return {
        "serviceAccounts": {account: {"annotations": annotations} for account in ("worker", "jobs")},
        "commonLabels": dict(provisioned.pod_labels),
    }


def _ingress_values(config: StackConfig, entrance: Entrance) -> Values:
    """Returns the values of the Ingress or HTTPRoute, always with TLS, since requests carry API keys."""
    ingress = config.ingress
    tls = ingress.tls
    annotations = dict(ingress.annotations)
    if tls and tls.issuer:
        annotations["cert-manager.io/cluster-issuer"] = tls.issuer
    if tls and tls.acme:
        annotations["cert-manager.io/issuer"] = edge.ISSUER
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
        passed_on = ingress.infrastructure_annotations
        new_gateway = {
            "create": True,
            "className": ingress.class_name or gateway.CLASS,
            "tlsSecret": secret,
            "redirect": bool(tls and tls.acme),  # the ACME server asks at port 80
            "annotations": {key: value for key, value in annotations.items() if key not in passed_on},
            "infrastructure": {"annotations": {**entrance.annotations, **passed_on}},
        }
        parent = {"name": name, **({"namespace": namespace} if namespace else {}), "sectionName": ingress.listener}
        route = {"parentRefs": [parent]} if name else {"gateway": new_gateway}
        return {"httpRoute": {"enabled": True, "hosts": [ingress.host], **route}}
    return {}


def knowledge_values(config: StackConfig, checkout: Path) -> list[Values]:
    """Returns the collections with their documents in base64, by relative path, without empty files."""
    collections = []
    for collection in config.knowledge:
        found = documents.documents(checkout, collection.paths)
        contents = {name: (checkout / name).read_bytes() for name in found}
        files = {n.lstrip("/"): base64.b64encode(c).decode() for n, c in contents.items() if c}
        collections.append({"name": collection.name, "files": files})
    return collections


def _placeholder_mistakes(config: StackConfig) -> Iterator[Mistake]:
    """Reports digests of the examples, such as 0000…, which no image has."""
    images = {"image": config.image, **{f"pools[{i}].image": p.image for i, p in enumerate(config.pools) if p.image}}
    for key, image in images.items():
        if len(set(image.digest.removeprefix("sha256:"))) == 1:
            fix = "push your image to the registry, and set the digest that the push prints"
            yield Mistake(f"{key}.digest", "is the placeholder of an example", fix)


def _certificate_mistakes(config: StackConfig) -> Iterator[Mistake]:
    for i, issuer in enumerate(config.oidc.issuers):
        if not issuer.tls_ca:
            continue
        key = f"oidc.issuers[{i}].tls_ca"
        try:
            text = Path(issuer.tls_ca).read_text()
            if BEGIN not in text:
                yield Mistake(key, f"{issuer.tls_ca} contains no PEM certificate", "name a file with one")
            if "PRIVATE KEY-----" in text:  # the file is copied into a ConfigMap, which is not secret
                yield Mistake(key, f"{issuer.tls_ca} contains a private key", "name a file with certificates only")
        except (OSError, UnicodeDecodeError) as e:
            problem = getattr(e, "strerror", None) or "it is not text"
            yield Mistake(
                key, f"{issuer.tls_ca} cannot be read: {problem}", "name a file on this host; pods get a copy"
            )


def mistakes(config: StackConfig, checkout: Path) -> list[Mistake]:
    """Reports placeholders, documents too large for ConfigMaps, bad certificates, and tools on the own database."""
    found = application.own_database_mistakes(config, _database_url(config))
    found += [*_placeholder_mistakes(config), *_certificate_mistakes(config)]
    total = 0
    fix = "leave it out, and upload it through the files API"
    for i, collection in enumerate(config.knowledge):
        try:
            names = documents.documents(checkout, collection.paths)
        except LookupError:
            continue  # reported by documents.mistakes
        sizes = {name: (checkout / name).stat().st_size for name in names}
        total += sum(sizes.values())
        if not any(sizes.values()):
            found.append(Mistake(f"knowledge[{i}].paths", "matches empty files only", "name documents"))
        for name, size in sizes.items():
            if size > DOCUMENT_BYTES:
                problem = f"{name} has {size / 1024:.0f} KiB, more than the {DOCUMENT_BYTES // 1024} of a ConfigMap"
                found.append(Mistake(f"knowledge[{i}].paths", problem, fix))
    if total > DOCUMENTS_BYTES:
        problem = f"its documents have {total / 2**20:.0f} MiB, more than the {DOCUMENTS_BYTES >> 20} for ConfigMaps"
        found.append(Mistake("knowledge", problem, "leave some out, and upload them through the files API"))
    return found
